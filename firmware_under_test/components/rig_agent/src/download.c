#include "rig_agent_download.h"

#include <stdbool.h>
#include <string.h>

#include "nvs.h"

#define NAMESPACE "rig"
#define KEY_URL "dl_url"
#define KEY_SLOT "dl_slot"
#define KEY_SIZE "dl_size"
#define URL_SIZE 384

static bool is_of(nvs_handle_t nvs, const char *url, const esp_partition_t *slot)
{
    char kept[URL_SIZE];
    size_t size = sizeof(kept);
    uint32_t address = 0;
    return nvs_get_str(nvs, KEY_URL, kept, &size) == ESP_OK && strcmp(kept, url) == 0 &&
           nvs_get_u32(nvs, KEY_SLOT, &address) == ESP_OK && address == slot->address;
}

uint32_t rig_download_kept(const char *url, const esp_partition_t *slot)
{
    nvs_handle_t nvs;
    uint32_t size = 0;
    if (nvs_open(NAMESPACE, NVS_READONLY, &nvs) != ESP_OK) {
        return 0;
    }
    if (!is_of(nvs, url, slot) || nvs_get_u32(nvs, KEY_SIZE, &size) != ESP_OK) {
        size = 0;
    }
    nvs_close(nvs);
    return size;
}

/* The size is what makes a record: it is written last and erased first. */
static esp_err_t erase(nvs_handle_t nvs)
{
    const esp_err_t error = nvs_erase_key(nvs, KEY_SIZE);
    return error == ESP_ERR_NVS_NOT_FOUND ? ESP_OK : error;
}

static esp_err_t keep(nvs_handle_t nvs, const char *url, const esp_partition_t *slot, uint32_t size)
{
    esp_err_t error = ESP_OK;
    if (!is_of(nvs, url, slot)) {
        error = erase(nvs);
        if (error == ESP_OK) {
            error = nvs_set_str(nvs, KEY_URL, url);
        }
        if (error == ESP_OK) {
            error = nvs_set_u32(nvs, KEY_SLOT, slot->address);
        }
    }
    if (error == ESP_OK) {
        error = nvs_set_u32(nvs, KEY_SIZE, size);
    }
    return error == ESP_OK ? nvs_commit(nvs) : error;
}

esp_err_t rig_download_keep(const char *url, const esp_partition_t *slot, uint32_t size)
{
    nvs_handle_t nvs;
    esp_err_t error = nvs_open(NAMESPACE, NVS_READWRITE, &nvs);
    if (error == ESP_OK) {
        error = keep(nvs, url, slot, size);
        nvs_close(nvs);
    }
    return error;
}

void rig_download_forget(void)
{
    nvs_handle_t nvs;
    uint32_t size;
    if (nvs_open(NAMESPACE, NVS_READWRITE, &nvs) != ESP_OK) {
        return;
    }
    if (nvs_get_u32(nvs, KEY_SIZE, &size) == ESP_OK && erase(nvs) == ESP_OK) {
        nvs_commit(nvs);
    }
    nvs_close(nvs);
}
