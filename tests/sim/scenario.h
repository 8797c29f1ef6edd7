/* scenario: one seed: workloads walk while nodes crash, clocks jump, disks, tokens and links fail; then all is well. */
#ifndef ENFILADE_SIM_SCENARIO_H
#define ENFILADE_SIM_SCENARIO_H

#include "tests/sim/oracle.h"

#define SCENARIO_FAULTS_MS 60000u /* so long there are faults */
#define SCENARIO_BOUND_MS 60000u  /* so long after their end an honest workload may take to open */

struct scenario_result {
    struct oracle_counts counts;
    unsigned opened;      /* walks that came to their end */
    uint64_t recovery_ms; /* from the end of the faults to the honest workload's secret */
    unsigned violations;
    char violated[32], why[256];
    uint8_t trace_hash[HASH_LEN];
};
/* trace: all of it to stdout. */
struct scenario_result scenario_run(uint64_t seed, enum sabotage sabotage, bool trace);

#endif
