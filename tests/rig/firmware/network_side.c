/* The pure C of rig_network and rig_pre_encrypted behind a pipe. */
#include "pipe.h"
#include "rig_header_check.h"
#include "rig_key_kind.h"
#include "rig_update_request.h"

/* A line; out: what is wrong with it, and the request as it was read. */
static void update_request(bytes_t in)
{
    rig_line_t line;
    rig_update_request_t request;
    if (rig_line_parse((const char *)in.data, in.size, &line) != RIG_LINE_GOOD) {
        abort();
    }
    const char *wrong = rig_update_request_read(&line, &request);
    out_text(wrong == NULL ? "" : wrong, wrong == NULL ? 0 : strlen(wrong));
    out_text(request.url, strlen(request.url));
    out_text(request.common_name, strlen(request.common_name));
    out_number(request.timeout_s, 4);
    out_number(request.request_size, 4);
    out_number(request.check_header, 1);
    out_number(request.resume, 1);
    out_number(request.keep_power_save, 1);
}

static void is_https(bytes_t in)
{
    char *url = take_text(&in, 2);
    out_number(rig_url_is_https(url), 1);
    free(url);
}

static rig_app_words_t take_words(bytes_t *in)
{
    rig_app_words_t words;
    memcpy(words.project, take(in, RIG_APP_TEXT_SIZE), RIG_APP_TEXT_SIZE);
    memcpy(words.version, take(in, RIG_APP_TEXT_SIZE), RIG_APP_TEXT_SIZE);
    words.secure_version = take_number(in, 4);
    return words;
}

/* Two apps, the lowest secure version, and the failed version if there is one. */
static void header_check(bytes_t in)
{
    const rig_app_words_t offered = take_words(&in);
    const rig_app_words_t running = take_words(&in);
    const uint32_t lowest = take_number(&in, 4);
    const char *failed = in.size > 0 ? (const char *)take(&in, RIG_APP_TEXT_SIZE) : NULL;
    out_number(rig_header_check(&offered, &running, failed, lowest), 1);
}

static void key_kind(bytes_t in)
{
    char *pem = take_text(&in, 4);
    out_number(rig_key_kind(pem), 1);
    free(pem);
}

static void operate(int operation, bytes_t in)
{
    switch (operation) {
    case 'U': update_request(in); break;
    case 'S': is_https(in); break;
    case 'H': header_check(in); break;
    case 'K': key_kind(in); break;
    default: abort();
    }
}
