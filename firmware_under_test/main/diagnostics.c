#include "diagnostics.h"

#include <stdint.h>

#include "esp_log.h"
#include "esp_ota_ops.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "rig_agent.h"

/* As long as looking at sensors and network might take, ms. */
#define DIAGNOSTICS_MS 200

static const char *TAG = "rig_app";

static uint32_t s_delay_s;

static void confirm(rig_diag_t outcome)
{
    ESP_LOGI(TAG, "Diagnostics completed successfully! Continuing execution ...");
    const esp_err_t error = esp_ota_mark_app_valid_cancel_rollback();
    if (error == ESP_OK) {
        rig_agent_diag_clear();
        rig_agent_report_diag(outcome, "confirmed", ESP_OK);
    } else {
        ESP_LOGE(TAG, "esp_ota_mark_app_valid_cancel_rollback failed (%s)", esp_err_to_name(error));
        rig_agent_report_diag(outcome, "error", error);
    }
}

static void reject(void)
{
    esp_err_t error;
    ESP_LOGE(TAG, "Diagnostics failed! Start rollback to the previous version ...");
    /* Before the call that does not return. */
    rig_agent_diag_clear();
    if (esp_ota_check_rollback_is_possible()) {
        rig_agent_report_diag(RIG_DIAG_FAIL, "rejecting", ESP_OK);
        error = rig_agent_reject("diag");
    } else {
        error = esp_ota_mark_app_invalid_rollback_and_reboot();
    }
    ESP_LOGE(TAG, "esp_ota_mark_app_invalid_rollback_and_reboot failed (%s)", esp_err_to_name(error));
    rig_agent_report_diag(RIG_DIAG_FAIL, "error", error);
}

void diagnostics_run(void)
{
    uint32_t seconds;
    const rig_diag_t outcome = rig_agent_diag(&seconds);
    ESP_LOGI(TAG, "Diagnostics ...");
    vTaskDelay(pdMS_TO_TICKS(DIAGNOSTICS_MS));
    switch (outcome) {
    case RIG_DIAG_NONE:
    case RIG_DIAG_PASS:
        confirm(RIG_DIAG_PASS);
        break;
    case RIG_DIAG_FAIL:
        reject();
        break;
    case RIG_DIAG_MANUAL:
        ESP_LOGI(TAG, "Diagnostics: waiting for a command");
        rig_agent_report_diag(outcome, "waiting", ESP_OK);
        break;
    case RIG_DIAG_DELAY:
        ESP_LOGI(TAG, "Diagnostics: confirming in %lu s", (unsigned long)seconds);
        s_delay_s = seconds;
        break;
    case RIG_DIAG_REBOOT:
        rig_agent_report_diag(outcome, "rebooting", ESP_OK);
        rig_agent_restart("diag");
    case RIG_DIAG_PANIC:
        rig_agent_crash(RIG_CRASH_PANIC);
    case RIG_DIAG_WATCHDOG:
        rig_agent_crash(RIG_CRASH_WATCHDOG);
    case RIG_DIAG_HANG:
        rig_agent_crash(RIG_CRASH_HANG);
    }
}

void diagnostics_finish(void)
{
    if (s_delay_s == 0) {
        return;
    }
    for (; s_delay_s > 0; s_delay_s--) {
        vTaskDelay(pdMS_TO_TICKS(1000));
    }
    esp_ota_img_states_t state;
    rig_agent_lock();
    /* A request may have confirmed meanwhile. */
    if (esp_ota_get_state_partition(esp_ota_get_running_partition(), &state) == ESP_OK &&
        state == ESP_OTA_IMG_PENDING_VERIFY) {
        confirm(RIG_DIAG_DELAY);
    }
    rig_agent_unlock();
}
