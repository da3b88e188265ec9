/* Wi-Fi station. */
#include <string.h>

#include "esp_event.h"
#include "esp_log.h"
#include "esp_wifi.h"
#include "network.h"

const char *const rig_link_kind = "wifi";

static const char *TAG = "rig_network";

static esp_netif_t *s_netif;
static volatile bool s_up;
static wifi_ps_type_t s_before;

static void on_event(void *context, esp_event_base_t base, int32_t event, void *data)
{
    (void)context;
    (void)base;
    (void)data;
    if (event == WIFI_EVENT_STA_CONNECTED) {
        s_up = true;
    } else if (event == WIFI_EVENT_STA_DISCONNECTED) {
        s_up = false;
        esp_wifi_connect();
    } else if (event == WIFI_EVENT_STA_START) {
        esp_wifi_connect();
    }
}

static esp_err_t configure(const char *ssid, const char *password)
{
    wifi_config_t config = {0};
    /* Both fields may be filled to the last byte, without NUL. */
    memcpy(config.sta.ssid, ssid, strnlen(ssid, sizeof(config.sta.ssid)));
    memcpy(config.sta.password, password, strnlen(password, sizeof(config.sta.password)));
    esp_err_t error = esp_wifi_set_storage(WIFI_STORAGE_RAM);
    if (error == ESP_OK) {
        error = esp_wifi_set_mode(WIFI_MODE_STA);
    }
    if (error == ESP_OK) {
        error = esp_wifi_set_config(WIFI_IF_STA, &config);
    }
    return error;
}

esp_err_t rig_link_start(const char *ssid, const char *password)
{
    if (ssid[0] == '\0') {
        return ESP_ERR_INVALID_ARG;
    }
    const wifi_init_config_t init = WIFI_INIT_CONFIG_DEFAULT();
    esp_netif_t *netif = esp_netif_create_default_wifi_sta();
    if (netif == NULL) {
        return ESP_ERR_NO_MEM;
    }
    esp_err_t error = esp_wifi_init(&init);
    if (error == ESP_OK) {
        error = esp_event_handler_register(WIFI_EVENT, ESP_EVENT_ANY_ID, on_event, NULL);
    }
    if (error == ESP_OK) {
        error = configure(ssid, password);
    }
    if (error == ESP_OK) {
        error = esp_wifi_start();
    }
    if (error != ESP_OK) {
        esp_netif_destroy_default_wifi(netif);
        return error;
    }
    s_netif = netif;
    return ESP_OK;
}

bool rig_link_is_up(void)
{
    return s_up;
}

esp_netif_t *rig_link_netif(void)
{
    return s_netif;
}

const char *rig_link_power_save(void)
{
    wifi_ps_type_t mode;
    if (esp_wifi_get_ps(&mode) != ESP_OK) {
        return "-";
    }
    return mode == WIFI_PS_NONE ? "none" : mode == WIFI_PS_MIN_MODEM ? "min" : "max";
}

void rig_link_stay_awake(void)
{
    const char *before = rig_link_power_save();
    if (esp_wifi_get_ps(&s_before) != ESP_OK) {
        s_before = WIFI_PS_NONE;
    }
    if (s_before != WIFI_PS_NONE && esp_wifi_set_ps(WIFI_PS_NONE) == ESP_OK) {
        ESP_LOGI(TAG, "power save %s (was %s)", rig_link_power_save(), before);
    }
}

void rig_link_may_sleep(void)
{
    if (s_before != WIFI_PS_NONE && esp_wifi_set_ps(s_before) == ESP_OK) {
        ESP_LOGI(TAG, "power save %s (as before)", rig_link_power_save());
    }
}
