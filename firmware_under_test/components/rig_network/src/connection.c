#include "connection.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <strings.h>

#include "esp_log.h"
#include "esp_timer.h"
#include "lwip/sockets.h"
#include "sdkconfig.h"

#define LOOK_EVERY_US 100000
#define REDIRECTIONS_MAX 10

static const char *TAG = "rig_network";

static esp_timer_handle_t s_timer;
static uint32_t s_timeout_ms;
static uint32_t s_earlier; /* one bit for each socket that was connected before */
static int s_redirections;
static int s_status;
static atomic_uint s_heard_ms;
static atomic_bool s_listens;
static atomic_int s_hung_up; /* esp_err_t */

_Static_assert(CONFIG_LWIP_MAX_SOCKETS <= 32, "s_earlier is too small");

static bool is_connected(int index)
{
    int type = 0;
    socklen_t size = sizeof(type);
    struct sockaddr_storage peer;
    socklen_t peer_size = sizeof(peer);
    const int socket = LWIP_SOCKET_OFFSET + index;
    return getsockopt(socket, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM &&
           getpeername(socket, (struct sockaddr *)&peer, &peer_size) == 0;
}

static uint32_t connected(void)
{
    uint32_t found = 0;
    for (int i = 0; i < CONFIG_LWIP_MAX_SOCKETS; i++) {
        found |= is_connected(i) ? 1u << i : 0;
    }
    return found;
}

/* esp_http_client does not say which socket is its own before v6.0: it is the one that is new. */
static void hang_up(esp_err_t why)
{
    const uint32_t fresh = connected() & ~s_earlier;
    if (fresh == 0 || (fresh & (fresh - 1)) != 0) {
        ESP_LOGW(TAG, "The connection of the download cannot be told from others and is not hung up");
        return;
    }
    s_hung_up = why;
    shutdown(LWIP_SOCKET_OFFSET + __builtin_ctz(fresh), SHUT_RDWR);
}

static uint32_t now_ms(void)
{
    return (uint32_t)(esp_timer_get_time() / 1000);
}

static void look(void *unused)
{
    (void)unused;
    const uint32_t silent_ms = now_ms() - s_heard_ms;
    if (s_listens && s_hung_up == ESP_OK && silent_ms > s_timeout_ms) {
        ESP_LOGE(TAG, "The server says nothing for %lu s", (unsigned long)s_timeout_ms / 1000);
        hang_up(ESP_ERR_TIMEOUT);
    }
}

esp_err_t rig_connection_watch(uint32_t timeout_s)
{
    const esp_timer_create_args_t args = {.callback = look, .name = "rig_network"};
    s_timeout_ms = timeout_s * 1000;
    s_earlier = connected();
    s_redirections = 0;
    s_status = 0;
    s_listens = false;
    s_hung_up = ESP_OK;
    const esp_err_t error = esp_timer_create(&args, &s_timer);
    return error == ESP_OK ? esp_timer_start_periodic(s_timer, LOOK_EVERY_US) : error;
}

static void hang_up_if_led_around(void)
{
    if (s_redirections > REDIRECTIONS_MAX) {
        hang_up(ESP_ERR_HTTP_MAX_REDIRECT);
    }
}

esp_err_t rig_connection_event(esp_http_client_event_t *event)
{
    switch (event->event_id) {
    case HTTP_EVENT_HEADERS_SENT:
        /* To another host, on a connection of its own. */
        rig_connection_listen();
        hang_up_if_led_around();
        break;
    case HTTP_EVENT_ON_HEADER:
        rig_connection_listen();
        s_redirections += strcasecmp(event->header_key, "Location") == 0;
        hang_up_if_led_around();
        break;
    case HTTP_EVENT_ON_DATA:
        rig_connection_listen();
        break;
    case HTTP_EVENT_DISCONNECTED:
        s_status = esp_http_client_get_status_code(event->client);
        rig_connection_pause();
        break;
    default:
        break;
    }
    return ESP_OK;
}

void rig_connection_pause(void)
{
    s_listens = false;
}

void rig_connection_listen(void)
{
    s_heard_ms = now_ms();
    s_listens = true;
}

int rig_connection_status(void)
{
    return s_status;
}

esp_err_t rig_connection_leave(void)
{
    rig_connection_pause();
    if (s_timer != NULL) {
        esp_timer_stop(s_timer);
        esp_timer_delete(s_timer);
        s_timer = NULL;
    }
    return s_hung_up;
}
