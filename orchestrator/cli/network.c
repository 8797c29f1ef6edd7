/* network: enfilade network: init and status. */
#include "orchestrator/cli/cli.h"

static const char help[] =
    "enfilade network init DIR ...   make the keys, documents and configuration of a whole network\n"
    "enfilade network status ...     ask every node of this host how it is\n";

int verb_network(int argc, char **argv)
{
    static const struct cli_sub subs[] = {{"init", network_init}, {"status", network_status}};
    return cli_dispatch(argc, argv, subs, sizeof(subs) / sizeof(subs[0]), help);
}
