/* grant: one step's grant at one node, from Begin to the answer, with twins, retries, crashes, a token that goes away and revocation.
 *
 * Everything is about one key (sid, stage, slot). DOORS visits may be under way at a time, each door starts a new visit
 * whenever it likes and for ever: that is any number of twins and retries by anybody who passes the appraisal. The node
 * may crash between any two steps, any number of times. What the model leaves out, and why, is in README.md.
 *
 *   node/visit.c    judge, twin, look, token, write, sign, hand-over     proctype door
 *   node/grant.c    grant_create, grant_reissue, grant_sweep             the d_steps on d_…
 *   node/ledger     group commit, signature, recovery                    proctype signer, restart
 *   node/papers.c   accepting and keeping a revocation                   proctype papers
 *
 * -DHONEST puts a workload in front of two doors (and bounds faults), for what must happen in the end. The other switches
 * are mutants and variants: ./run says which property each must break. */

#ifndef DOORS
#define DOORS 2
#endif
#ifndef REISSUES
#define REISSUES 3 /* node/grant.h: GRANT_REISSUES_MAX; for mutants 1 */
#endif
#define CAP (REISSUES + 2) /* counters of mutants stop here */
#define BUMP(x) x = (x < CAP -> x + 1 : x)

/* ---- on the disk */
bool d_grant, d_prev;           /* there is a grant; made under these links of earlier stages */
byte d_answer, d_reissues;      /* its answer; how often it was given again */
bool d_revoked;                 /* a status that revokes was kept */
byte grants, reissues, quota;   /* entries of these types, units counted: all that there ever were */
bool owed;                      /* there are entries that no checkpoint has covered yet */

/* ---- in memory */
bool up = true, open;           /* the process runs; its log has signed what it found */
bool revoked;                   /* the status in force revokes */
bool pending[DOORS];            /* this visit's entry is written and not signed */
bool grant_signed;              /* a checkpoint covers the GRANT entry */
bool dirty;                     /* the log knows of such entries */
bool asking, ask_grant, ask_for[DOORS]; /* a question at the token and what it will cover */
bool inside[DOORS];             /* this visit is past its appraisal: it is a twin to others */
bool stuck;                     /* MUT_LEAK: one that will never end */
byte home = DOORS;              /* doors without a visit */

/* ---- around */
byte time;                      /* 0: the chain is valid, 1: its not_after has passed, 2: and the skew */

/* ---- what the properties look at */
bool early, late, undone, crossed, differs, burnt;
bool was_revoked;
byte answers, first;

#ifdef HONEST
mtype = { IDLE, CALLED, ANSWER, BUSY, AGAIN, FINAL, LOST };
mtype line[DOORS] = IDLE;
bool deaf[DOORS];              /* the workload has given this connection up */
bool opened, reason;
byte faults = 2;                /* answers or connections lost */
byte crashes = 1, absences = 1;
bool token = true;
#define TOKEN token
#define AWAY !token
#define GONE deaf[me]
#define FAILS false
#define BEGINS line[me] == CALLED
#define SAY(x) line[me] = (line[me] == CALLED -> x : line[me])
#else
#define TOKEN true /* it answers, or does not, as it likes */
#define AWAY true
#define GONE true
#define FAILS true
#define BEGINS true
#define SAY(x) skip
#endif

#define TWIN (inside[0] + (DOORS > 1 -> inside[1] : 0) + (DOORS > 2 -> inside[DOORS - 1] : 0) > 0 || stuck)

inline hand_over(a, p)
{
#ifdef HONEST
    SAY(ANSWER)
#else
    early = early || !d_grant || !grant_signed;
    late = late || revoked;
    undone = undone || was_revoked;
    crossed = crossed || p != d_prev;
    differs = differs || (answers > 0 && first != a);
    first = (answers == 0 -> a : first);
    BUMP(answers)
#endif
}

/* node/visit.c: check_last and the hand-over are one callback on the loop */
inline release(a, p)
{
    atomic {
        if
        :: revoked || time > 0 -> goto refused
        :: else
        fi;
#ifdef MUT_TOCTOU
    };
    atomic {
#endif
        if
        :: GONE -> goto gone /* the connection went meanwhile: what is written stays written */
        :: hand_over(a, p)
        fi
    }
}

/* node/ledger: done comes with the signature, or with ERR_TOKEN when that takes too long */
inline wait_for(condition)
{
    if
    :: condition
    :: AWAY && !(condition) -> goto away
    fi
}

#ifdef MUT_PREVHASH
#define SAME_LINKS true
#else
#define SAME_LINKS d_prev == prev
#endif
#ifdef MUT_UNCOUNTED
#define UNDER_LIMIT true
#else
#define UNDER_LIMIT d_reissues < REISSUES
#endif

active [DOORS] proctype door()
{
    byte me = _pid, answer;
    bool prev;

start:
    atomic { open && BEGINS -> home-- };
    {
        /* Begin and Attest: documents, links, evidence, factors; nothing of them lasts */
        atomic {
            if
            :: revoked || time > 0 -> goto refused
            :: else
            fi;
#ifndef HONEST
            if /* perhaps with other links under the same key */
            :: prev = true
            :: skip
            fi
#endif
        };
        atomic {
#ifdef MUT_CREATE
            inside[me] = true
#else
            if
            :: TWIN -> goto busy
            :: else -> inside[me] = true
            fi
#endif
        };

        atomic { /* on the store thread: is there a grant already? */
            if
            :: d_grant -> answer = d_answer; goto again
            :: else
            fi
        };

        atomic { /* the token's work: the bytes differ from visit to visit, since the link names time and versions */
            if
            :: answer = 1
#ifndef HONEST
            :: answer = 2
#endif
            :: AWAY -> goto away
            :: GONE -> goto gone /* the connection went */
            fi
        };
#ifdef MUT_EARLY
        release(answer, prev);
#endif

        atomic { /* one transaction: no such grant yet, then entry, grant and quota */
            if
#ifdef MUT_CREATE
            :: d_grant && d_prev == prev ->
                BUMP(grants); BUMP(quota); owed = true; dirty = true; pending[me] = true;
                answer = d_answer
            :: d_grant && d_prev != prev -> goto busy
#else
            :: d_grant -> goto busy
#endif
            :: !d_grant ->
                BUMP(grants); owed = true; dirty = true; pending[me] = true; grant_signed = false;
                d_grant = true; d_prev = prev; d_answer = answer; d_reissues = 0;
#ifdef MUT_APART
                skip
            fi
        };
        atomic {
            if
            :: true ->
#endif
                BUMP(quota)
            fi
        };
        if
        :: skip
        :: FAILS -> goto away /* ERR_STORAGE: it may be there all the same */
        fi;
#ifndef MUT_UNSIGNED
        wait_for(!pending[me]);
#endif
#ifndef MUT_EARLY
        release(answer, prev);
#endif
        goto gone;

again: /* the grant is there: the same bytes once more */
        skip;
#ifdef MUT_FRESH
        if
        :: answer = 1
        :: answer = 2
        fi;
#endif
        atomic { /* one transaction: may it be, the count, an entry */
            if
            :: !d_grant || time > 1 -> goto refused
#ifndef MUT_PREVHASH
            :: d_grant && d_prev != prev -> goto refused
#endif
#ifndef MUT_UNCOUNTED
            :: d_grant && SAME_LINKS && d_reissues >= REISSUES -> burnt = burnt || answers == 0; goto refused
#endif
            :: d_grant && SAME_LINKS && UNDER_LIMIT ->
                d_reissues = (d_reissues < REISSUES -> d_reissues + 1 : d_reissues);
                BUMP(reissues); owed = true; dirty = true; pending[me] = true;
#ifdef MUT_QUOTA
                BUMP(quota)
#endif
            fi
        };
        wait_for(!pending[me]);
        wait_for(grant_signed); /* node_log_receipt */
        release(answer, prev);
        goto gone;

busy:
        atomic { SAY(BUSY) };
        goto gone;
away: /* ERR_TOKEN, ERR_STORAGE: come again */
        atomic { SAY(AGAIN) };
        goto gone;
refused:
        atomic { SAY(FINAL) };
gone:
        skip
    } unless { !up };
    atomic {
        home++; pending[me] = false; ask_for[me] = false; prev = false; answer = 0;
#ifdef MUT_LEAK
        stuck = stuck || (inside[me] && up && deaf[me]);
#endif
        inside[me] = false;
#ifdef HONEST
        line[me] = (deaf[me] -> IDLE : (line[me] == CALLED -> LOST : line[me]));
        deaf[me] = false;
#endif
    };
    goto start
}

/* The signer: one question at a time, over all that is written when it is asked. The log opens once all is signed. */
active proctype signer()
{
    byte i;
    do
    :: d_step {
           up && !asking && dirty ->
           asking = true; dirty = false; ask_grant = d_grant;
           i = 0; do :: i < DOORS -> ask_for[i] = pending[i]; i++ :: else -> break od; i = 0
       }
    :: d_step {
           up && asking && TOKEN ->
           asking = false; owed = dirty; grant_signed = grant_signed || ask_grant; ask_grant = false;
           i = 0; do :: i < DOORS -> pending[i] = pending[i] && !ask_for[i]; ask_for[i] = false; i++ :: else -> break od;
           i = 0
       }
    :: d_step { up && asking && AWAY -> asking = false; dirty = true; ask_grant = false }
    :: d_step { up && !open && !asking && !dirty -> open = true }
    od
}

/* Crash at any point, then a start: what was committed and not signed is signed before the doors open. */
active proctype machine()
{
    byte i;
    do
    :: d_step {
#ifdef HONEST
           crashes > 0 && up -> crashes--;
#else
           up ->
#endif
           up = false; open = false; dirty = false; stuck = false; asking = false; ask_grant = false; grant_signed = false;
           i = 0; do :: i < DOORS -> pending[i] = false; ask_for[i] = false; inside[i] = false; i++ :: else -> break od;
           i = 0
       }
    :: d_step {
           !up && home == DOORS ->
           up = true; revoked = d_revoked;
#ifdef MUT_RECOVERY
           open = true
#else
           dirty = owed || d_grant /* the newest checkpoint may not have reached the disk: the same bytes once more */
#endif
       }
    od
}

#ifdef HONEST
active proctype surroundings()
{
    do
    :: token && absences > 0 -> absences--; token = false
    :: !token -> token = true
    od
}
#else
/* A status that revokes is in force at once and on the disk a little later. */
active proctype papers()
{
    d_step {
        up && open -> revoked = true; was_revoked = true;
#ifdef FIX_PAPERS
        d_revoked = true
#endif
    };
    do
    :: d_step { up && revoked && !d_revoked -> d_revoked = true }
    :: d_step { up && open && !revoked -> revoked = true } /* it was lost in a crash, and somebody offers it again */
    od
}

active proctype surroundings()
{
    do
    :: atomic { time == 0 -> time = 1 }
#ifdef VAR_STALL
    :: atomic { time == 1 -> time = 2 }
#else
    :: atomic { time == 1 && home == DOORS -> time = 2 } /* no visit lasts as long as the skew */
#endif
#ifdef VAR_CLOCK
    :: atomic { time == 2 -> time = 0 }                  /* a clock that ran ahead is set right */
#endif
    :: d_step { time == 2 && up && d_grant -> d_grant = false; d_prev = false; d_answer = 0; d_reissues = 0 } /* grant_sweep */
    od
}
#endif

#ifdef HONEST
/* Asks, waits, asks again on a new connection when it hears nothing, until it has its answer or a reason. */
active proctype workload()
{
    byte d;
    do
    :: opened || reason -> break
    :: atomic { !(opened || reason) && line[0] == IDLE -> d = 0; line[0] = CALLED };
wait:
       if
       :: atomic { line[d] == ANSWER && faults > 0 -> faults--; line[d] = IDLE } /* lost on the way */
       :: atomic { line[d] == ANSWER -> opened = true; line[d] = IDLE }
       :: atomic { line[d] == FINAL -> reason = true; line[d] = IDLE }
       :: atomic { line[d] == BUSY || line[d] == AGAIN || line[d] == LOST -> line[d] = IDLE }
       :: atomic { line[d] == CALLED && faults > 0 -> faults--; deaf[d] = true } /* gives this connection up */
       fi
    :: atomic { !(opened || reason) && line[0] != IDLE && line[1] == IDLE -> d = 1; line[1] = CALLED }; goto wait
    od
}
ltl ends { <> (opened || reason) }
ltl signs { [] (owed -> <> !owed) }
#else
#ifndef BUT_ONCE
#define BUT_ONCE false
#endif
#ifndef BUT_COUNTED
#define BUT_COUNTED false
#endif
#ifndef BUT_DURABLE
#define BUT_DURABLE false
#endif
#ifndef BUT_REVOCATION
#define BUT_REVOCATION false
#endif
#ifndef BUT_KEPT
#define BUT_KEPT false
#endif
#ifndef BUT_LINKS
#define BUT_LINKS false
#endif
#ifndef BUT_SAME
#define BUT_SAME false
#endif
#ifndef BUT_BOUNDED
#define BUT_BOUNDED false
#endif
#ifndef BUT_SPARED
#define BUT_SPARED false
#endif
#define P_ONCE (grants <= 1)
#define P_COUNTED (quota == grants)
#define P_DURABLE (!early)
#define P_REVOCATION (!late)
#define P_KEPT (!undone)
#define P_LINKS (!crossed)
#define P_SAME (!differs)
#define P_BOUNDED (reissues <= REISSUES && answers <= 1 + REISSUES)
#define P_SPARED (!burnt)
ltl reached { [] (answers <= REISSUES) } /* must break: all answers that may be given can be given */
ltl once { [] P_ONCE }
ltl counted { [] P_COUNTED }
ltl durable { [] P_DURABLE }
ltl revocation { [] P_REVOCATION }
ltl kept { [] P_KEPT }
ltl links { [] P_LINKS }
ltl same { [] P_SAME }
ltl bounded { [] P_BOUNDED }
ltl spared { [] P_SPARED }
/* all of them but those that this mutant or variant must break: -DBUT_… */
ltl rest { [] ((BUT_ONCE || P_ONCE) && (BUT_COUNTED || P_COUNTED) && (BUT_DURABLE || P_DURABLE) &&
               (BUT_REVOCATION || P_REVOCATION) && (BUT_KEPT || P_KEPT) && (BUT_LINKS || P_LINKS) &&
               (BUT_SAME || P_SAME) && (BUT_BOUNDED || P_BOUNDED) && (BUT_SPARED || P_SPARED)) }
#endif
