/* documents_seeds: writes one good text and note of each document type into a folder, to begin fuzzing from. */
#include "tests/lib/network.h"
#include <stdio.h>

static void save(const char *folder, const char *name, struct bytes data)
{
    char path[4096];
    struct err err = {0};
    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    if (file_write(path, data, 0644, &err) != 0)
        (void)fprintf(stderr, "%s\n", err.text);
}

int main(int argc, char **argv)
{
    struct network n;
    if (argc != 2) {
        (void)fprintf(stderr, "usage: documents_seeds FOLDER\n");
        return EXIT_USAGE;
    }
    network_init(&n);
    struct document *all[] = {n.root, n.roster, n.inventory, n.policy, n.envelope, n.status, n.chain};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++) {
        char name[64];
        (void)snprintf(name, sizeof(name), "%s.text", document_type_name(all[i]->type));
        save(argv[1], name, all[i]->text);
        (void)snprintf(name, sizeof(name), "%s.note", document_type_name(all[i]->type));
        save(argv[1], name, all[i]->note);
    }
    network_done(&n);
    return EXIT_DONE;
}
