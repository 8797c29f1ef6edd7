/* disk: what a node's store leaves behind: a durable image, an image as running processes see it, and faults.
 *
 * node/store.h is implemented on it (store.c): transactions work on copies, a commit replaces the image as a whole, a
 * crash drops every transaction that was not committed. */
#ifndef ENFILADE_SIM_DISK_H
#define ENFILADE_SIM_DISK_H

#include "node/store.h"

struct sim_node;
struct run;
struct disk;

/* X(name, what the failing call does) */
#define DISK_FAULTS(X)                                                                                                 \
    X(EIO, "Input/output error")                                                                                       \
    X(ENOSPC, "No space left on device")                                                                               \
    X(SYNC, "Input/output error after the data was written") /* a commit that reports failure and is there */
enum disk_fault {
    DISK_SOUND,
#define DISK_FAULT(name, words) DISK_##name,
    DISK_FAULTS(DISK_FAULT)
#undef DISK_FAULT
};

struct disk *disk_new(struct sim_node *of);
void disk_free(struct disk *d);
/* The store of one incarnation; store_close gives it back. */
struct store *disk_open(struct disk *d, struct run *run);
void disk_detach(struct store *s); /* the process is dead: every further call fails, nothing reaches the disk */
void disk_crash(struct disk *d);   /* what was never durable is gone */

/* The n-th call of store.h from now on fails (1: the next), once; 0: none. */
void disk_fail(struct disk *d, unsigned nth, enum disk_fault fault);
bool disk_has_failed(const struct disk *d); /* since disk_fail */
void disk_keep(struct disk *d);             /* a copy of the durable image, which disk_roll_back puts in its place */
void disk_roll_back(struct disk *d);

/* The durable image. */
uint64_t disk_count(const struct disk *d, enum store_table table);
bool disk_find(const struct disk *d, enum store_table table, struct bytes key, struct bytes *ret_value);
void disk_each(const struct disk *d, enum store_table table, void (*visit)(void *arg, struct bytes key, struct bytes v),
               void *arg);

#endif
