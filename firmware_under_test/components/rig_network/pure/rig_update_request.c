#include "rig_update_request.h"

#include <string.h>

#include "rig_args.h"

#define TIMEOUT_DEFAULT_S 20
#define TIMEOUT_MAX_S 120
#define REQUEST_SIZE_MIN 1024
#define REQUEST_SIZE_MAX 1048576

/* Place of the argument in the list; 0 when it is not given, -1 when it is none of them. */
static int choice(const rig_line_t *line, const char *name, const char *const *list)
{
    char text[8];
    if (!rig_arg_given(line, name)) {
        return 0;
    }
    return rig_arg_text(line, name, text, sizeof(text)) ? rig_choice(text, list) : -1;
}

static bool number(const rig_line_t *line, const char *name, uint32_t low, uint32_t high, uint32_t *value)
{
    return !rig_arg_given(line, name) || rig_arg_number(line, name, low, high, value);
}

const char *rig_update_request_read(const rig_line_t *line, rig_update_request_t *request)
{
    static const char *const checks[] = {"header", "none", NULL};
    static const char *const truths[] = {"0", "1", NULL};
    static const char *const modes[] = {"off", "keep", NULL};
    const int check = choice(line, "check", checks);
    const int resume = choice(line, "resume", truths);
    const int power_save = choice(line, "power_save", modes);

    *request = (rig_update_request_t) {.timeout_s = TIMEOUT_DEFAULT_S};
    if (!rig_arg_text(line, "url", request->url, sizeof(request->url)) || request->url[0] == '\0') {
        return "url: 1 to 300 bytes";
    }
    if (!rig_arg_text(line, "common_name", request->common_name, sizeof(request->common_name))) {
        return "common_name: up to 63 bytes";
    }
    if (!number(line, "timeout", 1, TIMEOUT_MAX_S, &request->timeout_s)) {
        return "timeout: 1 to 120";
    }
    if (!number(line, "request_size", REQUEST_SIZE_MIN, REQUEST_SIZE_MAX, &request->request_size)) {
        return "request_size: 1024 to 1048576";
    }
    if (check < 0) {
        return "check: header, none";
    }
    if (resume < 0) {
        return "resume: 0, 1";
    }
    if (power_save < 0) {
        return "power_save: off, keep";
    }
    request->check_header = check == 0;
    request->resume = resume == 1;
    request->keep_power_save = power_save == 1;
    return NULL;
}

bool rig_url_is_https(const char *url)
{
    static const char scheme[] = "https:";
    for (size_t i = 0; scheme[i] != '\0'; i++) {
        const char lower = url[i] >= 'A' && url[i] <= 'Z' ? (char)(url[i] - 'A' + 'a') : url[i];
        if (lower != scheme[i]) {
            return false;
        }
    }
    return true;
}
