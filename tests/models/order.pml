/* order: the plan of a stage, the real orchestrator/plan.c, against members that answer, fail, stall or ask for patience.
 *
 * The code itself is explored, not a copy: pan is linked with plan.c. Time goes where the plan wants to be woken, or stays
 * while something happens; with GRAIN (ms) it also stops in between. MEMBERS members, NEED needed. Signs of life and
 * requests to come again are bounded (PATIENT each), as the walk's deadline bounds them. */
#ifndef MEMBERS
#define MEMBERS 3
#endif
#ifndef NEED
#define NEED 2
#endif
#ifndef PATIENT
#define PATIENT 1
#endif

c_decl {
\#include "orchestrator/plan.h"
\#include <string.h>
}
c_state "struct plan plan" "Global"
c_state "unsigned long at_ms" "Global"
c_state "unsigned long wake_ms" "Global"

#define LATEST 5000 /* ms: plan.h's five seconds */

#define START 0
#define STOP 1
#define WAIT 2
#define DONE 3
#define OVER 4

byte verb, member, got, starts[MEMBERS];
bool asked[MEMBERS], has[MEMBERS], final, stirred, ended;
byte patient[MEMBERS] = PATIENT;

inline next()
{
    c_code {
        struct plan_action a = plan_next(&now.plan, now.at_ms);
        now.verb = a.verb;
        now.member = a.member;
        now.wake_ms = a.verb == PLAN_WAIT ? a.wake_ms : 0;
    }
}

/* Something that member m does. */
inline event(m)
{
    if
    :: asked[m] = false; has[m] = true; got++;
       c_code { plan_got(&now.plan, now.member); }
    :: asked[m] = false;
       c_code { plan_failed(&now.plan, now.member, ERR_UNAVAILABLE, false, now.at_ms); }
    :: asked[m] = false;
       c_code { plan_failed(&now.plan, now.member, ERR_COMMITMENT, false, now.at_ms); }
    :: asked[m] = false; final = true;
       c_code { plan_failed(&now.plan, now.member, ERR_EVIDENCE, true, now.at_ms); }
    :: patient[m] > 0 -> patient[m]--; stirred = true;
       c_code { plan_alive(&now.plan, now.member, now.at_ms); }
    :: patient[m] > 0 -> patient[m]--; stirred = true; asked[m] = false;
       c_code { plan_busy(&now.plan, now.member, 250, now.at_ms); }
    fi
}

active proctype stage()
{
    c_code {
        memset(&now.plan, 0, sizeof(now.plan));
        plan_init(&now.plan, NEED, MEMBERS, 0);
        now.at_ms = 0;
    };
    do
    :: atomic {
           next();
           if
           :: verb == START ->
               assert(!asked[member] && !has[member]); /* one conversation a member, none after its share */
               assert(!final);                         /* a refusal that holds everywhere burns no more quota */
               assert(got < NEED);
               asked[member] = true;
               starts[member]++;
               assert(c_expr { now.starts[now.member] <= PLAN_TRIES_MAX + PATIENT }) /* and as often as it asked for it */
           :: verb == STOP ->
               assert(asked[member]);
               asked[member] = false
           :: verb == DONE ->
               assert(got == NEED);
               ended = true; break
           :: verb == OVER ->
               assert(got < NEED);
               assert(stirred || c_expr { now.at_ms <= LATEST }); /* who never shows life costs that much at most */
               assert(c_expr { now.at_ms <= PLAN_LIMIT_MS + PLAN_PATIENCE_MS + PLAN_BUSY_MAX_MS * PATIENT * MEMBERS });
               ended = true; break
           :: verb == WAIT ->
               assert(c_expr { now.wake_ms > now.at_ms });
               assert(stirred || c_expr { now.at_ms < LATEST });
               if
               :: member = 0
               :: member = 1
#if MEMBERS > 2
               :: member = 2
#endif
               fi;
               if
               :: asked[member] -> event(member)
               :: c_code { now.at_ms = now.wake_ms; }
#ifdef GRAIN
               :: c_expr { now.at_ms + GRAIN < now.wake_ms } -> c_code { now.at_ms += GRAIN; }
#endif
               fi;
               member = 0
           fi
       }
    od
}
ltl stops { <> ended } /* and every assertion above on the way */
