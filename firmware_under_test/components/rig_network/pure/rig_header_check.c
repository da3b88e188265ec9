#include "rig_header_check.h"

#include <stdbool.h>
#include <string.h>

static bool same(const char *one, const char *other)
{
    return strncmp(one, other, RIG_APP_TEXT_SIZE) == 0;
}

rig_header_verdict_t rig_header_check(const rig_app_words_t *offered, const rig_app_words_t *running,
                                      const char *failed, uint32_t lowest)
{
    if (!same(offered->project, running->project)) {
        return RIG_HEADER_OTHER_PROJECT;
    }
    if (same(offered->version, running->version)) {
        return RIG_HEADER_SAME_VERSION;
    }
    if (failed != NULL && same(offered->version, failed)) {
        return RIG_HEADER_FAILED_VERSION;
    }
    return offered->secure_version < lowest ? RIG_HEADER_LOW_SECURE_VERSION : RIG_HEADER_GOOD;
}
