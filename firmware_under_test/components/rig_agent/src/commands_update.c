/* Update over UART: `update_begin`, the binary transfer, `update_end`, `update_abort` (PROTOCOL.md, section 6). */
#include <string.h>

#include "agent_private.h"
#include "console.h"
#include "esp_ota_ops.h"
#include "esp_timer.h"
#include "rig_agent.h"
#include "rig_agent_download.h"
#include "rig_args.h"
#include "rig_frames.h"
#include "rig_sha256.h"
#include "rig_transfer.h"
#include "slots.h"
#include "watch.h"

#define TIMEOUT_DEFAULT 60
#define TIMEOUT_MAX 3600
#define POLL_MS 500

/* The update between update_begin and update_end; one at a time. */
static struct {
    bool open;
    uint32_t id;
    esp_ota_handle_t handle;
    const esp_partition_t *slot;
    uint32_t size;
    uint32_t timeout;
    bool has_sha256;
    uint8_t sha256[RIG_SHA256_SIZE];
    rig_sha256_t digest;
} s_update;

static uint8_t s_frames[RIG_FRAME_OVERHEAD + CONFIG_RIG_AGENT_FRAME];
static uint8_t s_received[512];
static rig_transfer_t s_transfer;
static rig_writer_t s_line;

static int write_payload(void *context, const uint8_t *data, size_t size)
{
    (void)context;
    rig_agent_lock();
    const esp_err_t error = esp_ota_write(s_update.handle, data, size);
    rig_agent_unlock();
    if (error == ESP_OK && s_update.has_sha256) {
        rig_sha256_update(&s_update.digest, data, size);
    }
    rig_watch_feed();
    return error;
}

static void say(void *context, const char *word, uint32_t offset)
{
    (void)context;
    rig_writer_begin(&s_line, s_update.id, word);
    rig_writer_number(&s_line, "offset", offset);
    rig_console_send(&s_line);
}

static int64_t now_ms(void *context)
{
    (void)context;
    return esp_timer_get_time() / 1000;
}

static const rig_transfer_io_t s_io = {.write = write_payload, .progress = say, .now_ms = now_ms};

static esp_err_t transfer_error(rig_transfer_status_t status)
{
    switch (status) {
    case RIG_TRANSFER_COMPLETE:
        return ESP_OK;
    case RIG_TRANSFER_WRITE_FAILED:
        return s_transfer.write_error;
    case RIG_TRANSFER_INVALID_SIZE:
        return ESP_ERR_INVALID_SIZE;
    case RIG_TRANSFER_TIMEOUT:
        return ESP_ERR_TIMEOUT;
    default:
        return ESP_FAIL;
    }
}

static void say_fail(esp_err_t error)
{
    char name[RIG_STATE_SIZE];
    /* What is still under way must not reach the text side; only then the host may send text. */
    while (rig_console_read(s_received, sizeof(s_received), RIG_QUIET_MS) > 0) {
        rig_watch_feed();
    }
    rig_writer_begin(&s_line, s_update.id, "fail");
    rig_writer_text(&s_line, "error", rig_error_name(error, name));
    rig_writer_number(&s_line, "offset", s_transfer.written);
    rig_console_send(&s_line);
}

static void receive(void)
{
    rig_agent_forget_input();
    rig_transfer_init(&s_transfer, &s_io, s_frames, sizeof(s_frames), s_update.size, s_update.timeout * 1000);
    rig_transfer_status_t status = RIG_TRANSFER_RUNNING;
    while (status == RIG_TRANSFER_RUNNING) {
        const uint32_t left = rig_transfer_left_ms(&s_transfer);
        const size_t size = rig_console_read(s_received, sizeof(s_received), left < POLL_MS ? left : POLL_MS);
        status = rig_transfer_take(&s_transfer, s_received, size);
        rig_watch_feed();
    }
    const esp_err_t error = transfer_error(status);
    if (error != ESP_OK) {
        say_fail(error);
        rig_agent_lock();
        esp_ota_abort(s_update.handle);
        rig_agent_unlock();
        s_update.open = false;
    }
}

static esp_err_t read_mode(rig_call_t *call, uint32_t size, size_t *image_size)
{
    static const char *const modes[] = {"unknown", "seq", "size", NULL};
    char mode[12];
    int found = -1;
    if (!rig_arg_given(call->request, "mode")) {
        found = 0;
    } else if (rig_arg_text(call->request, "mode", mode, sizeof(mode))) {
        found = rig_choice(mode, modes);
    }
    if (found < 0) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "mode: unknown, size, seq");
    }
    *image_size = found == 0 ? OTA_SIZE_UNKNOWN : found == 1 ? OTA_WITH_SEQUENTIAL_WRITES : size;
    return ESP_OK;
}

static esp_err_t read_slot(rig_call_t *call, const esp_partition_t **slot)
{
    char name[RIG_SLOT_NAME_SIZE];
    *slot = NULL;
    if (rig_arg_text(call->request, "slot", name, sizeof(name))) {
        *slot = strcmp(name, "next") == 0 ? esp_ota_get_next_update_partition(NULL) : rig_agent_slot(name);
    }
    return *slot != NULL ? ESP_OK : rig_call_refuse(call, ESP_ERR_INVALID_ARG, "no such slot");
}

static esp_err_t update_begin(rig_call_t *call)
{
    uint32_t size = 0;
    uint32_t timeout = TIMEOUT_DEFAULT;
    size_t image_size = 0;
    const esp_partition_t *slot;
    uint8_t sha256[RIG_SHA256_SIZE];
    esp_ota_handle_t handle;
    const bool has_sha256 = rig_arg_given(call->request, "sha256");

    esp_err_t error = read_mode(call, 0, &image_size);
    if (error == ESP_OK) {
        error = rig_call_number(call, "size", 1, INT32_MAX, &size);
    }
    if (error == ESP_OK && rig_arg_given(call->request, "timeout")) {
        error = rig_call_number(call, "timeout", 1, TIMEOUT_MAX, &timeout);
    }
    if (error == ESP_OK) {
        error = read_slot(call, &slot);
    }
    if (error == ESP_OK && has_sha256 && !rig_arg_bytes(call->request, "sha256", sha256, sizeof(sha256))) {
        error = rig_call_refuse(call, ESP_ERR_INVALID_ARG, "sha256: 64 hexadecimal digits");
    }
    if (error == ESP_OK) {
        error = read_mode(call, size, &image_size);
    }
    if (error == ESP_OK) {
        rig_download_forget();
        error = esp_ota_begin(slot, image_size, &handle);
    }
    if (error != ESP_OK) {
        return error;
    }
    if (s_update.open) {
        esp_ota_abort(s_update.handle);
    }
    s_update.open = true;
    s_update.id = call->request->id;
    s_update.handle = handle;
    s_update.slot = slot;
    s_update.size = size;
    s_update.timeout = timeout;
    s_update.has_sha256 = has_sha256;
    memcpy(s_update.sha256, sha256, sizeof(sha256));
    rig_sha256_init(&s_update.digest);

    rig_slot_add(call->answer, "slot", slot);
    rig_writer_hex(call->answer, "offset", slot->address);
    rig_writer_number(call->answer, "frame", CONFIG_RIG_AGENT_FRAME);
    rig_writer_number(call->answer, "window", CONFIG_RIG_AGENT_FRAME * CONFIG_RIG_AGENT_WINDOW_FRAMES);
    call->then = receive;
    return ESP_OK;
}

static bool hash_matches(void)
{
    uint8_t digest[RIG_SHA256_SIZE];
    rig_sha256_finish(&s_update.digest, digest);
    return !s_update.has_sha256 || memcmp(digest, s_update.sha256, sizeof(digest)) == 0;
}

static esp_err_t update_end(rig_call_t *call)
{
    if (!s_update.open) {
        return rig_call_refuse(call, ESP_ERR_INVALID_STATE, "no update is open");
    }
    s_update.open = false;
    if (!hash_matches()) {
        esp_ota_abort(s_update.handle);
        return rig_call_refuse(call, ESP_ERR_INVALID_CRC, "SHA-256 differs");
    }
    const esp_err_t error = esp_ota_end(s_update.handle);
    if (error == ESP_OK) {
        rig_slot_add(call->answer, "slot", s_update.slot);
        rig_writer_number(call->answer, "length", s_update.size);
    }
    return error;
}

static esp_err_t update_abort(rig_call_t *call)
{
    if (!s_update.open) {
        return rig_call_refuse(call, ESP_ERR_INVALID_STATE, "no update is open");
    }
    s_update.open = false;
    return esp_ota_abort(s_update.handle);
}

const rig_command_t rig_update_commands[] = {
    {"update_begin", update_begin, true},
    {"update_end", update_end, true},
    {"update_abort", update_abort, false},
};

const size_t rig_update_commands_count = sizeof(rig_update_commands) / sizeof(rig_update_commands[0]);
