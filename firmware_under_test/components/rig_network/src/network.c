/* The command `net`. */
#include "network.h"

#include <stdio.h>
#include <sys/time.h>

#include "esp_event.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "rig_args.h"
#include "rig_network.h"
#include "sdkconfig.h"
#if CONFIG_ESP_HTTPS_OTA_DECRYPT_CB
#include "rig_pre_encrypted.h"
#endif

#define WAIT_DEFAULT_S 20
#define WAIT_MAX_S 60
#define POLL_MS 50

bool rig_network_has_address(void)
{
    esp_netif_ip_info_t ip;
    esp_netif_t *netif = rig_link_netif();
    return netif != NULL && esp_netif_get_ip_info(netif, &ip) == ESP_OK && ip.ip.addr != 0;
}

static esp_err_t start_stack(void)
{
    esp_err_t error = esp_netif_init();
    if (error == ESP_OK) {
        error = esp_event_loop_create_default();
    }
    /* The app may have made one for itself. */
    return error == ESP_ERR_INVALID_STATE ? ESP_OK : error;
}

static esp_err_t start(rig_call_t *call)
{
    char ssid[33];
    char password[65];
    if (!rig_arg_text(call->request, "ssid", ssid, sizeof(ssid)) ||
        !rig_arg_text(call->request, "password", password, sizeof(password))) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "ssid: up to 32 bytes, password: up to 64");
    }
    if (rig_link_netif() != NULL) {
        return ESP_OK;
    }
    const esp_err_t error = start_stack();
    return error == ESP_OK ? rig_link_start(ssid, password) : error;
}

/* As SNTP would: the dates of certificates are checked against it. */
static esp_err_t set_time(rig_call_t *call)
{
    uint32_t seconds;
    if (!rig_arg_given(call->request, "time")) {
        return ESP_OK;
    }
    const esp_err_t error = rig_call_number(call, "time", 0, UINT32_MAX, &seconds);
    if (error == ESP_OK) {
        const struct timeval now = {.tv_sec = (time_t)seconds};
        settimeofday(&now, NULL);
    }
    return error;
}

static esp_err_t net(rig_call_t *call)
{
    uint32_t seconds = WAIT_DEFAULT_S;
    esp_err_t error = set_time(call);
    if (error == ESP_OK && rig_arg_given(call->request, "wait")) {
        error = rig_call_number(call, "wait", 0, WAIT_MAX_S, &seconds);
    }
    if (error == ESP_OK) {
        error = start(call);
    }
    if (error != ESP_OK) {
        return error;
    }
    for (uint32_t waited = 0; !rig_network_has_address() && waited < seconds * 1000; waited += POLL_MS) {
        vTaskDelay(pdMS_TO_TICKS(POLL_MS));
    }
    char text[16] = "0.0.0.0";
    esp_netif_ip_info_t ip;
    if (esp_netif_get_ip_info(rig_link_netif(), &ip) == ESP_OK) {
        snprintf(text, sizeof(text), IPSTR, IP2STR(&ip.ip));
    }
    rig_writer_text(call->answer, "kind", rig_link_kind);
    rig_writer_flag(call->answer, "link", rig_link_is_up());
    rig_writer_text(call->answer, "ip", text);
    rig_writer_text(call->answer, "power_save", rig_link_power_save());
    return ESP_OK;
}

esp_err_t rig_network_add_commands(void)
{
    static const rig_command_t commands[] = {
        {"net", net, true},
        {"ca", rig_command_ca, false},
        {"update_url", rig_command_update_url, true},
#if CONFIG_ESP_HTTPS_OTA_DECRYPT_CB
        {"image_key", rig_command_image_key, false},
#endif
    };
    return rig_agent_add_commands(commands, sizeof(commands) / sizeof(commands[0]));
}
