/* Commands that change nothing (PROTOCOL.md, section 5). */
#include <string.h>

#include "agent_private.h"
#include "esp_app_desc.h"
#include "esp_efuse.h"
#include "esp_image_format.h"
#include "esp_ota_ops.h"
#include "esp_timer.h"
#include "rig_agent.h"
#include "rig_args.h"
#include "rig_sha256.h"
#include "sdkconfig.h"
#include "slots.h"
#include "store.h"

#define PING_MAX 200

static uint8_t s_table[RIG_TABLE_SIZE];
static esp_image_metadata_t s_metadata;

static esp_err_t ping(rig_call_t *call)
{
    char data[PING_MAX];
    rig_field_t field;
    size_t size = 0;
    if (rig_line_find(call->request, "data", &field)) {
        size = rig_field_decode(&field, data, sizeof(data));
    }
    if (size == SIZE_MAX) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "data is longer than %d bytes", PING_MAX);
    }
    rig_writer_add(call->answer, "data", data, size);
    return ESP_OK;
}

static esp_err_t hello(rig_call_t *call)
{
    const esp_app_desc_t *app = esp_app_get_description();
    const esp_partition_t *running = esp_ota_get_running_partition();
    rig_writer_t *answer = call->answer;
    char state[RIG_STATE_SIZE];
    rig_writer_number(answer, "protocol", RIG_PROTOCOL_VERSION);
    rig_writer_text(answer, "project", app->project_name);
    rig_writer_text(answer, "version", app->version);
    rig_writer_number(answer, "secure_version", app->secure_version);
    rig_writer_bytes(answer, "elf_sha256", app->app_elf_sha256, sizeof(app->app_elf_sha256));
    rig_writer_text(answer, "idf", app->idf_ver);
    rig_writer_text(answer, "chip", CONFIG_IDF_TARGET);
    rig_slot_add(answer, "running", running);
    rig_writer_text(answer, "state", rig_agent_slot_state(running, state));
    rig_writer_text(answer, "reset", rig_agent_reset_reason());
    rig_writer_number(answer, "boot", rig_agent_boot());
    rig_writer_text(answer, "diag", rig_agent_diag_name(rig_agent_diag(NULL)));
#if CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE
    rig_writer_flag(answer, "rollback", true);
#else
    rig_writer_flag(answer, "rollback", false);
#endif
#if CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK
    rig_writer_flag(answer, "anti_rollback", true);
#else
    rig_writer_flag(answer, "anti_rollback", false);
#endif
    rig_writer_number(answer, "uptime_ms", (uint32_t)(esp_timer_get_time() / 1000));
    return ESP_OK;
}

static esp_err_t slots(rig_call_t *call)
{
    /* 18 subtypes, their names and the commas between. */
    char names[18 * RIG_SLOT_NAME_SIZE] = "";
    char name[RIG_SLOT_NAME_SIZE];
    size_t used = 0;
    esp_partition_iterator_t at = esp_partition_find(ESP_PARTITION_TYPE_APP, ESP_PARTITION_SUBTYPE_ANY, NULL);
    while (at != NULL) {
        rig_agent_slot_name(esp_partition_get(at), name);
        const size_t length = strlen(name);
        if (used + length + 1 < sizeof(names)) {
            if (used > 0) {
                names[used++] = ',';
            }
            memcpy(names + used, name, length + 1);
            used += length;
        }
        at = esp_partition_next(at);
    }
    rig_writer_text(call->answer, "slots", names);
    rig_slot_add(call->answer, "running", esp_ota_get_running_partition());
    rig_slot_add(call->answer, "boot", esp_ota_get_boot_partition());
    rig_slot_add(call->answer, "next", esp_ota_get_next_update_partition(NULL));
    rig_slot_add(call->answer, "last_invalid", esp_ota_get_last_invalid_partition());
    return ESP_OK;
}

static esp_err_t find_slot(rig_call_t *call, const esp_partition_t **slot)
{
    char name[RIG_SLOT_NAME_SIZE];
    *slot = rig_arg_text(call->request, "slot", name, sizeof(name)) ? rig_agent_slot(name) : NULL;
    return *slot != NULL ? ESP_OK : rig_call_refuse(call, ESP_ERR_INVALID_ARG, "no such slot");
}

/* As erasing leaves it, also where flash is encrypted. */
static bool first_sector_is_blank(const esp_partition_t *slot)
{
    uint8_t piece[256];
    for (size_t offset = 0; offset < slot->erase_size; offset += sizeof(piece)) {
        if (esp_partition_read_raw(slot, offset, piece, sizeof(piece)) != ESP_OK) {
            return false;
        }
        for (size_t i = 0; i < sizeof(piece); i++) {
            if (piece[i] != 0xff) {
                return false;
            }
        }
    }
    return true;
}

static bool read_image(const esp_partition_t *slot, esp_app_desc_t *app, uint8_t *sha256)
{
    const esp_partition_pos_t place = {.offset = slot->address, .size = slot->size};
    return esp_image_verify(ESP_IMAGE_VERIFY_SILENT, &place, &s_metadata) == ESP_OK &&
           esp_ota_get_partition_description(slot, app) == ESP_OK && esp_partition_get_sha256(slot, sha256) == ESP_OK;
}

static esp_err_t slot(rig_call_t *call)
{
    const esp_partition_t *part;
    const esp_err_t error = find_slot(call, &part);
    if (error != ESP_OK) {
        return error;
    }
    rig_writer_t *answer = call->answer;
    char state[RIG_STATE_SIZE];
    esp_app_desc_t app;
    uint8_t sha256[RIG_SHA256_SIZE];
    rig_slot_add(answer, "slot", part);
    rig_writer_text(answer, "label", part->label);
    rig_writer_hex(answer, "offset", part->address);
    rig_writer_hex(answer, "size", part->size);
    rig_writer_text(answer, "state", rig_agent_slot_state(part, state));
    if (!read_image(part, &app, sha256)) {
        rig_writer_text(answer, "image", first_sector_is_blank(part) ? "empty" : "invalid");
        return ESP_OK;
    }
    rig_writer_text(answer, "image", "ok");
    rig_writer_add(answer, "project", app.project_name, strnlen(app.project_name, sizeof(app.project_name)));
    rig_writer_add(answer, "version", app.version, strnlen(app.version, sizeof(app.version)));
    rig_writer_number(answer, "secure_version", app.secure_version);
    rig_writer_number(answer, "length", s_metadata.image_len);
    rig_writer_bytes(answer, "sha256", sha256, sizeof(sha256));
    return ESP_OK;
}

static esp_err_t otadata(rig_call_t *call)
{
    const esp_partition_t *part = rig_otadata();
    if (part == NULL) {
        return rig_call_refuse(call, ESP_ERR_NOT_FOUND, "no otadata partition");
    }
    rig_writer_hex(call->answer, "offset", part->address);
    return rig_otadata_add(call->answer);
}

static esp_err_t table(rig_call_t *call)
{
    rig_sha256_t sha;
    uint8_t digest[RIG_SHA256_SIZE];
    const esp_err_t error = rig_table_read(s_table);
    if (error != ESP_OK) {
        return error;
    }
    rig_sha256_init(&sha);
    rig_sha256_update(&sha, s_table, sizeof(s_table));
    rig_sha256_finish(&sha, digest);
    rig_writer_hex(call->answer, "offset", CONFIG_PARTITION_TABLE_OFFSET);
    rig_writer_number(call->answer, "count", (uint32_t)rig_table_count(s_table, sizeof(s_table)));
    rig_writer_bytes(call->answer, "sha256", digest, sizeof(digest));
    return ESP_OK;
}

static esp_err_t partition(rig_call_t *call)
{
    rig_table_row_t row;
    uint32_t index;
    esp_err_t error = rig_table_read(s_table);
    if (error != ESP_OK) {
        return error;
    }
    const size_t count = rig_table_count(s_table, sizeof(s_table));
    error = rig_call_number(call, "index", 0, count == 0 ? 0 : (uint32_t)count - 1, &index);
    if (error != ESP_OK) {
        return error;
    }
    if (!rig_table_row(s_table, sizeof(s_table), index, &row)) {
        return ESP_ERR_NOT_FOUND;
    }
    rig_writer_text(call->answer, "label", row.label);
    rig_writer_hex(call->answer, "type", row.type);
    rig_writer_hex(call->answer, "subtype", row.subtype);
    rig_writer_hex(call->answer, "offset", row.offset);
    rig_writer_hex(call->answer, "size", row.size);
    rig_writer_hex(call->answer, "flags", row.flags);
    return ESP_OK;
}

static esp_err_t get_state(rig_call_t *call)
{
    const esp_partition_t *part;
    esp_ota_img_states_t state;
    char text[RIG_STATE_SIZE];
    esp_err_t error = find_slot(call, &part);
    if (error == ESP_OK) {
        error = esp_ota_get_state_partition(part, &state);
    }
    if (error == ESP_OK) {
        rig_writer_text(call->answer, "state", rig_agent_slot_state(part, text));
    }
    return error;
}

static esp_err_t last_invalid(rig_call_t *call)
{
    rig_slot_add(call->answer, "slot", esp_ota_get_last_invalid_partition());
    return ESP_OK;
}

static esp_err_t rollback_possible(rig_call_t *call)
{
    rig_writer_flag(call->answer, "possible", esp_ota_check_rollback_is_possible());
    return ESP_OK;
}

static esp_err_t diag_get(rig_call_t *call)
{
    uint32_t seconds;
    rig_writer_text(call->answer, "outcome", rig_agent_diag_name(rig_agent_diag(&seconds)));
    rig_writer_number(call->answer, "seconds", seconds);
    return ESP_OK;
}

/* Changes NVS only, and may be sent again: it says the same. */
static esp_err_t diag(rig_call_t *call)
{
    char name[12];
    uint32_t seconds = 0;
    const bool is_text = rig_arg_text(call->request, "outcome", name, sizeof(name));
    const rig_diag_t outcome = is_text ? rig_store_diag_by_name(name) : RIG_DIAG_NONE;
    if (outcome == RIG_DIAG_NONE) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG,
                               "outcome: pass, fail, hang, panic, watchdog, reboot, delay, manual");
    }
    if (outcome == RIG_DIAG_DELAY) {
        const esp_err_t error = rig_call_number(call, "seconds", 1, RIG_DELAY_MAX, &seconds);
        if (error != ESP_OK) {
            return error;
        }
    }
    const esp_err_t error = rig_store_set_diag(outcome, seconds);
    return error == ESP_OK ? diag_get(call) : error;
}

static esp_err_t secver(rig_call_t *call)
{
    rig_writer_number(call->answer, "app", esp_app_get_description()->secure_version);
#if CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK
    rig_writer_number(call->answer, "efuse", esp_efuse_read_secure_version());
    rig_writer_number(call->answer, "bits", CONFIG_BOOTLOADER_APP_SEC_VER_SIZE_EFUSE_FIELD);
#endif
    return ESP_OK;
}

const rig_command_t rig_query_commands[] = {
    {"ping", ping, false},
    {"hello", hello, false},
    {"slots", slots, false},
    {"slot", slot, true},
    {"otadata", otadata, false},
    {"table", table, false},
    {"partition", partition, false},
    {"get_state", get_state, false},
    {"last_invalid", last_invalid, true},
    {"rollback_possible", rollback_possible, true},
    {"diag", diag, false},
    {"diag_get", diag_get, false},
    {"secver", secver, false},
};

const size_t rig_query_commands_count = sizeof(rig_query_commands) / sizeof(rig_query_commands[0]);
