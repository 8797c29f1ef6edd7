# enfilade_ref: a second, independent implementation of Enfilade's constructions, to check the first one against.
