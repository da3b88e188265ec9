#include "header.h"

#include <string.h>

#include "esp_efuse.h"
#include "esp_log.h"
#include "esp_ota_ops.h"
#include "rig_header_check.h"
#include "sdkconfig.h"

static const char *TAG = "rig_network";

static rig_app_words_t words_of(const esp_app_desc_t *description)
{
    rig_app_words_t words = {.secure_version = description->secure_version};
    _Static_assert(sizeof(words.version) == sizeof(description->version), "RIG_APP_TEXT_SIZE");
    _Static_assert(sizeof(words.project) == sizeof(description->project_name), "RIG_APP_TEXT_SIZE");
    memcpy(words.version, description->version, sizeof(words.version));
    memcpy(words.project, description->project_name, sizeof(words.project));
    return words;
}

static uint32_t lowest_secure_version(void)
{
#if CONFIG_BOOTLOADER_APP_ANTI_ROLLBACK
    return esp_efuse_read_secure_version();
#else
    return 0;
#endif
}

static rig_header_verdict_t judge(const esp_app_desc_t *offered)
{
    esp_app_desc_t failed;
    const rig_app_words_t words = words_of(offered);
    const rig_app_words_t running = words_of(esp_app_get_description());
    const esp_partition_t *slot = esp_ota_get_last_invalid_partition();
    const bool has_failed = slot != NULL && esp_ota_get_partition_description(slot, &failed) == ESP_OK;
    return rig_header_check(&words, &running, has_failed ? failed.version : NULL, lowest_secure_version());
}

esp_err_t rig_header_refuses(rig_call_t *call, const esp_app_desc_t *offered)
{
    ESP_LOGI(TAG, "Running firmware version: %.32s", esp_app_get_description()->version);
    ESP_LOGI(TAG, "New firmware version: %.32s", offered->version);
    switch (judge(offered)) {
    case RIG_HEADER_GOOD:
        return ESP_OK;
    case RIG_HEADER_OTHER_PROJECT:
        return rig_call_refuse(call, ESP_ERR_INVALID_VERSION, "another project: %.32s", offered->project_name);
    case RIG_HEADER_SAME_VERSION:
        return rig_call_refuse(call, ESP_ERR_INVALID_VERSION, "this version runs already");
    case RIG_HEADER_FAILED_VERSION:
        return rig_call_refuse(call, ESP_ERR_INVALID_VERSION, "this version has failed here before");
    default:
        return rig_call_refuse(call, ESP_ERR_OTA_SMALL_SEC_VER, "secure version %lu is below the eFuse's, %lu",
                               (unsigned long)offered->secure_version, (unsigned long)lowest_secure_version());
    }
}
