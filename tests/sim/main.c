/* main: all stories, group by group. */
#include "common/base/log.h"
#include "tests/sim/story.h"

int main(void)
{
    log_setup("sim", false, LOG_LEVEL_ERROR);
    int failed = stories_walk();
    failed += stories_crash();
    failed += stories_storage();
    failed += stories_documents();
    failed += stories_broken();
    return failed != 0;
}
