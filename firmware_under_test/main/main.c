/* A small product: starts, judges itself when it is on probation, and then serves the bench. */
#include "diagnostics.h"
#include "esp_app_desc.h"
#include "esp_log.h"
#include "esp_ota_ops.h"
#include "nvs_flash.h"
#include "rig_agent.h"
#include "sdkconfig.h"
#if CONFIG_RIG_NETWORK
#include "rig_network.h"
#endif

static const char *TAG = "rig_app";

static void start_nvs(void)
{
    esp_err_t error = nvs_flash_init();
    if (error == ESP_ERR_NVS_NO_FREE_PAGES || error == ESP_ERR_NVS_NEW_VERSION_FOUND) {
        error = nvs_flash_erase();
        if (error == ESP_OK) {
            error = nvs_flash_init();
        }
    }
    if (error != ESP_OK) {
        ESP_LOGE(TAG, "nvs_flash_init failed (%s)", esp_err_to_name(error));
    }
}

static void start_agent(void)
{
    const esp_err_t error = rig_agent_init();
    if (rig_agent_boot() == 0) {
        ESP_LOGW(TAG, "No nvs partition: boots are not counted, diagnostics outcomes are not kept");
    } else if (error != ESP_OK) {
        ESP_LOGE(TAG, "rig_agent_init failed (%s)", esp_err_to_name(error));
    }
}

static void log_start(const esp_partition_t *running)
{
    char name[RIG_SLOT_NAME_SIZE];
    char state[RIG_STATE_SIZE];
    rig_agent_slot_name(running, name);
    ESP_LOGI(TAG, "Test app %s, boot %lu, reset reason %s", esp_app_get_description()->version,
             (unsigned long)rig_agent_boot(), rig_agent_reset_reason());
    ESP_LOGI(TAG, "Running partition %s (%s) at offset 0x%08lx", running->label, name, (unsigned long)running->address);
    ESP_LOGI(TAG, "OTA state of running partition %s: %s", name, rig_agent_slot_state(running, state));
}

void app_main(void)
{
    const esp_partition_t *running = esp_ota_get_running_partition();
    esp_ota_img_states_t state;

    start_nvs();
    start_agent();
    log_start(running);
    rig_agent_report_start();
    if (esp_ota_get_state_partition(running, &state) == ESP_OK) {
        if (state == ESP_OTA_IMG_PENDING_VERIFY) {
            diagnostics_run();
        }
#if CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE
        if (state == ESP_OTA_IMG_NEW) {
            ESP_LOGW(TAG, "State is NEW: the bootloader was built without app rollback, this image is not confirmed");
        }
#endif
    }
#if CONFIG_RIG_NETWORK
    ESP_ERROR_CHECK(rig_network_add_commands());
#endif
    ESP_ERROR_CHECK(rig_agent_serve());
    diagnostics_finish();
}
