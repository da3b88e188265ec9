/* Ethernet: the OpenCores card of Espressif's QEMU. */
#include "esp_eth.h"
#include "esp_event.h"
#include "esp_idf_version.h"
#include "network.h"
#include "sdkconfig.h"

#define AUTONEGOTIATION_MS 100

const char *const rig_link_kind = "ethernet";

static esp_netif_t *s_netif;
static volatile bool s_up;

static void on_event(void *context, esp_event_base_t base, int32_t event, void *data)
{
    (void)context;
    (void)base;
    (void)data;
    if (event == ETHERNET_EVENT_CONNECTED) {
        s_up = true;
    } else if (event == ETHERNET_EVENT_DISCONNECTED) {
        s_up = false;
    }
}

static esp_err_t install(esp_eth_handle_t *driver)
{
#if CONFIG_ETH_USE_OPENETH
    eth_mac_config_t mac_config = ETH_MAC_DEFAULT_CONFIG();
    eth_phy_config_t phy_config = ETH_PHY_DEFAULT_CONFIG();
    phy_config.autonego_timeout_ms = AUTONEGOTIATION_MS;
    esp_eth_mac_t *mac = esp_eth_mac_new_openeth(&mac_config);
    /* QEMU's card has a DP83848; its driver left ESP-IDF with v6.0, and only since then the generic one comes along. */
#if ESP_IDF_VERSION >= ESP_IDF_VERSION_VAL(6, 0, 0)
    esp_eth_phy_t *phy = esp_eth_phy_new_generic(&phy_config);
#else
    esp_eth_phy_t *phy = esp_eth_phy_new_dp83848(&phy_config);
#endif
    if (mac == NULL || phy == NULL) {
        return ESP_ERR_NOT_FOUND;
    }
    const esp_eth_config_t config = ETH_DEFAULT_CONFIG(mac, phy);
    return esp_eth_driver_install(&config, driver);
#else
    (void)driver;
    return ESP_ERR_NOT_SUPPORTED;
#endif
}

esp_err_t rig_link_start(const char *ssid, const char *password)
{
    (void)ssid;
    (void)password;
    esp_eth_handle_t driver = NULL;
    esp_err_t error = install(&driver);
    if (error == ESP_OK) {
        error = esp_event_handler_register(ETH_EVENT, ESP_EVENT_ANY_ID, on_event, NULL);
    }
    if (error != ESP_OK) {
        return error;
    }
    const esp_netif_config_t config = ESP_NETIF_DEFAULT_ETH();
    s_netif = esp_netif_new(&config);
    if (s_netif == NULL) {
        return ESP_ERR_NO_MEM;
    }
    error = esp_netif_attach(s_netif, esp_eth_new_netif_glue(driver));
    return error == ESP_OK ? esp_eth_start(driver) : error;
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
    return "-";
}

void rig_link_stay_awake(void) {}

void rig_link_may_sleep(void) {}
