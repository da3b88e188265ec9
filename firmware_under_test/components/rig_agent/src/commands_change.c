/* Commands that change otadata, eFuses or the course of the app (PROTOCOL.md, section 5). */
#include <string.h>

#include "agent_private.h"
#include "esp_efuse.h"
#include "esp_idf_version.h"
#include "esp_log.h"
#include "esp_ota_ops.h"
#include "rig_agent.h"
#include "rig_agent_download.h"
#include "rig_args.h"
#include "sdkconfig.h"
#include "slots.h"

static const char *TAG = "rig_agent";

static esp_err_t confirm(rig_call_t *call)
{
    char state[RIG_STATE_SIZE];
    const esp_err_t error = esp_ota_mark_app_valid_cancel_rollback();
    if (error != ESP_OK) {
        return error;
    }
    rig_agent_diag_clear();
    rig_writer_text(call->answer, "state", rig_agent_slot_state(esp_ota_get_running_partition(), state));
    return ESP_OK;
}

static void reject_now(void)
{
    rig_agent_lock();
    const esp_err_t error = rig_agent_reject("reject");
    rig_agent_unlock();
    ESP_LOGE(TAG, "reject failed: %s", esp_err_to_name(error));
}

static esp_err_t reject(rig_call_t *call)
{
    const bool possible = esp_ota_check_rollback_is_possible();
    /* Before the call that does not return. */
    rig_agent_diag_clear();
    if (possible) {
        call->then = reject_now;
        return ESP_OK;
    }
    return rig_call_refuse(call, esp_ota_mark_app_invalid_rollback_and_reboot(), "no other slot to go back to");
}

static esp_err_t erase_previous(rig_call_t *call)
{
    (void)call;
    return esp_ota_erase_last_boot_app_partition();
}

static esp_err_t invalidate_inactive(rig_call_t *call)
{
    (void)call;
#if ESP_IDF_VERSION >= ESP_IDF_VERSION_VAL(5, 5, 0)
    return esp_ota_invalidate_inactive_ota_data_slot();
#else
    return ESP_ERR_NOT_SUPPORTED;
#endif
}

static esp_err_t set_boot(rig_call_t *call)
{
    char name[RIG_SLOT_NAME_SIZE];
    const bool is_text = rig_arg_text(call->request, "slot", name, sizeof(name));
    const esp_partition_t *slot = is_text ? rig_agent_slot(name) : NULL;
    if (slot == NULL) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "no such slot");
    }
    rig_download_forget();
    const esp_err_t error = esp_ota_set_boot_partition(slot);
    if (error == ESP_OK) {
        rig_slot_add(call->answer, "boot", esp_ota_get_boot_partition());
    }
    return error;
}

static esp_err_t burn(rig_call_t *call)
{
#if CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK
    char really[8];
    uint32_t version;
    esp_err_t error = rig_call_number(call, "version", 0, UINT32_MAX, &version);
    if (error != ESP_OK) {
        return error;
    }
    if (!rig_arg_text(call->request, "really", really, sizeof(really)) || strcmp(really, "yes") != 0) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "really=yes is needed: an eFuse cannot be cleared");
    }
    error = esp_efuse_update_secure_version(version);
    if (error == ESP_OK) {
        rig_writer_number(call->answer, "efuse", esp_efuse_read_secure_version());
    }
    return error;
#else
    return rig_call_refuse(call, ESP_ERR_NOT_SUPPORTED, "this app was built without anti-rollback");
#endif
}

static void reboot_now(void)
{
    rig_agent_restart("reboot");
}

static esp_err_t reboot(rig_call_t *call)
{
    call->then = reboot_now;
    return ESP_OK;
}

static void panic_now(void)
{
    rig_agent_crash(RIG_CRASH_PANIC);
}

/* The lock keeps the app from confirming behind a crash that was asked for. */
static void starve_watchdog_now(void)
{
    rig_agent_lock();
    rig_agent_crash(RIG_CRASH_WATCHDOG);
}

static void hang_now(void)
{
    rig_agent_lock();
    rig_agent_crash(RIG_CRASH_HANG);
}

static esp_err_t crash(rig_call_t *call)
{
    static const char *const kinds[] = {"panic", "watchdog", "hang", NULL};
    static void (*const actions[])(void) = {panic_now, starve_watchdog_now, hang_now};
    char kind[12];
    const int found = rig_arg_text(call->request, "kind", kind, sizeof(kind)) ? rig_choice(kind, kinds) : -1;
    if (found < 0) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "kind: panic, watchdog, hang");
    }
    call->then = actions[found];
    return ESP_OK;
}

const rig_command_t rig_change_commands[] = {
    {"confirm", confirm, true},
    {"reject", reject, true},
    {"erase_previous", erase_previous, true},
    {"invalidate_inactive", invalidate_inactive, true},
    {"set_boot", set_boot, true},
    {"burn", burn, false},
    {"reboot", reboot, false},
    {"crash", crash, false},
};

const size_t rig_change_commands_count = sizeof(rig_change_commands) / sizeof(rig_change_commands[0]);
