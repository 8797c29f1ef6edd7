/* network: enfilade network: init, status and publish. */
#include "orchestrator/cli/ceremony.h"
#include "orchestrator/cli/cli.h"

static const char help[] =
    "enfilade network init DIR ...           make the keys, documents and configuration of a whole network\n"
    "enfilade network status ...             ask every node of this host how it is\n"
    "enfilade network publish DIR FILE...    put signed documents and chains where a network made by init looks for "
    "them;\n"
    "                                        running nodes read them after SIGHUP\n";

/* Signed documents must hold under what is there already; chains are put there as they are. */
static int publish_file(struct ceremony *c, const char *path, struct err *err)
{
    struct buf note;
    struct document_claim claim;
    int rc = cli_read_note(path, &note, err);
    if (rc == 0)
        rc = document_peek(buf_view(&note), &claim, err);
    if (rc == 0 && claim.type != DOCUMENT_CHAIN)
        rc = ceremony_offer(c, buf_view(&note), err);
    if (rc == 0)
        rc = ceremony_publish(c, buf_view(&note), err);
    buf_done(&note);
    return rc != 0 ? err_wrap(err, rc, "%s", path) : 0;
}

static int network_publish(int argc, char **argv)
{
    struct cli_list words = {.count = 0};
    struct err err = {0};
    struct ceremony c;
    int exit_code = cli_parse(argc, argv, NULL, 0, help, &words);
    if (exit_code != CLI_GO)
        return exit_code;
    if (words.count < 2)
        return cli_usage("network publish: name the network's folder and files");
    int rc = ceremony_open(words.at[0], &c, &err);
    for (size_t i = 1; rc == 0 && i < words.count; i++)
        rc = publish_file(&c, words.at[i], &err);
    ceremony_close(&c);
    return rc == 0 ? EXIT_DONE : cli_fail(&err, false);
}

int verb_network(int argc, char **argv)
{
    static const struct cli_sub subs[] = {
        {"init", network_init}, {"status", network_status}, {"publish", network_publish}};
    return cli_dispatch(argc, argv, subs, sizeof(subs) / sizeof(subs[0]), help);
}
