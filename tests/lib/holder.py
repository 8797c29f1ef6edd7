# holder: a workload that holds what it is told to, step by step, so that others can look into its memory meanwhile.
"""holder.py [LIBRARY CONFIG]. One command a line on stdin, one answer a line on stdout:

  plant HEX      keeps these bytes
  unseal NAME    enf_open, enf_unseal: the first visit's link in hex; the secret is never copied into Python
  free, close    enf_secret_free, enf_close
"""
import ctypes
import sys


class Visit(ctypes.Structure):  # struct enf_visit
    _fields_ = [("stage", ctypes.c_char_p), ("node", ctypes.c_char_p), ("stage_number", ctypes.c_uint), ("slot", ctypes.c_uint),
                ("result", ctypes.c_int), ("detail", ctypes.c_char_p), ("denial_id", ctypes.c_char_p),
                ("milliseconds", ctypes.c_double), ("entry_index", ctypes.c_uint64), ("link_body", ctypes.c_void_p),
                ("link_body_len", ctypes.c_size_t)]


OBSERVER = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.POINTER(Visit))


class Holder:
    def __init__(self):
        self.planted, self.links, self.enf, self.secret = [], [], ctypes.c_void_p(), ctypes.c_void_p()
        self.lib = ctypes.CDLL(sys.argv[1]) if len(sys.argv) > 1 else None
        self.observer = OBSERVER(self.observe)

    def observe(self, _, visit):
        v = visit.contents
        if v.result == 0:
            self.links.append(ctypes.string_at(v.link_body, v.link_body_len).hex())

    def plant(self, text):
        self.planted.append(bytes.fromhex(text))
        return "planted"

    def unseal(self, name):
        self.lib.enf_error.restype = ctypes.c_char_p
        rc = self.lib.enf_open(sys.argv[2].encode(), ctypes.byref(self.enf))
        if rc == 0:
            self.lib.enf_observe(self.enf, self.observer, None)
            rc = self.lib.enf_unseal(self.enf, name.encode(), None, ctypes.byref(self.secret))
        return self.links[0] if rc == 0 else "failed: " + self.lib.enf_error(self.enf).decode()

    def free(self):
        self.lib.enf_secret_free(self.secret)
        return "freed"

    def close(self):
        self.lib.enf_close(self.enf)
        return "closed"


def main():
    holder = Holder()
    for line in iter(sys.stdin.readline, ""):
        word = line.split()
        print(getattr(holder, word[0])(*word[1:]), flush=True)


if __name__ == "__main__":
    main()
