#include "store.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "nvs.h"
#include "rig_args.h"

#define NAMESPACE "rig"
#define KEY_DIAG "diag"
#define KEY_BOOTS "boots"

static const char *const s_names[] = {
    "none", "pass", "fail", "hang", "panic", "watchdog", "reboot", "delay", "manual", NULL,
};

static bool s_open;
static nvs_handle_t s_nvs;
static uint32_t s_boot;
static rig_diag_t s_outcome;
static uint32_t s_seconds;

/* Outcome and seconds lie in one string, so that a power cut cannot leave an outcome with another one's seconds. */
static void read_diag(void)
{
    char text[24] = "";
    size_t size = sizeof(text);
    if (nvs_get_str(s_nvs, KEY_DIAG, text, &size) != ESP_OK) {
        return;
    }
    char *space = strchr(text, ' ');
    if (space == NULL) {
        return;
    }
    *space = '\0';
    uint32_t seconds;
    const rig_diag_t outcome = rig_store_diag_by_name(text);
    if (outcome != RIG_DIAG_NONE && rig_number(space + 1, strlen(space + 1), &seconds) && seconds <= RIG_DELAY_MAX) {
        s_outcome = outcome;
        s_seconds = seconds;
    }
}

static void count_boot(void)
{
    uint32_t before = 0;
    nvs_get_u32(s_nvs, KEY_BOOTS, &before);
    s_boot = before + 1;
    if (nvs_set_u32(s_nvs, KEY_BOOTS, s_boot) == ESP_OK) {
        nvs_commit(s_nvs);
    }
}

esp_err_t rig_store_init(void)
{
    const esp_err_t error = nvs_open(NAMESPACE, NVS_READWRITE, &s_nvs);
    if (error != ESP_OK) {
        return error;
    }
    s_open = true;
    count_boot();
    read_diag();
    return ESP_OK;
}

esp_err_t rig_store_set_diag(rig_diag_t outcome, uint32_t seconds)
{
    char text[24];
    snprintf(text, sizeof(text), "%s %lu", s_names[outcome], (unsigned long)seconds);
    esp_err_t error = ESP_OK;
    if (s_open) {
        error = nvs_set_str(s_nvs, KEY_DIAG, text);
        if (error == ESP_OK) {
            error = nvs_commit(s_nvs);
        }
    }
    if (error == ESP_OK) {
        s_outcome = outcome;
        s_seconds = seconds;
    }
    return error;
}

rig_diag_t rig_store_diag_by_name(const char *name)
{
    const int found = rig_choice(name, s_names);
    return found < 0 ? RIG_DIAG_NONE : (rig_diag_t)found;
}

uint32_t rig_agent_boot(void)
{
    return s_boot;
}

rig_diag_t rig_agent_diag(uint32_t *seconds)
{
    if (seconds != NULL) {
        *seconds = s_seconds;
    }
    return s_outcome;
}

const char *rig_agent_diag_name(rig_diag_t outcome)
{
    return s_names[outcome];
}

esp_err_t rig_agent_diag_clear(void)
{
    esp_err_t error = ESP_OK;
    if (s_open) {
        error = nvs_erase_key(s_nvs, KEY_DIAG);
        if (error == ESP_ERR_NVS_NOT_FOUND) {
            error = ESP_OK;
        } else if (error == ESP_OK) {
            error = nvs_commit(s_nvs);
        }
    }
    s_outcome = RIG_DIAG_NONE;
    s_seconds = 0;
    return error;
}
