#include "console.h"

#include <stdio.h>
#include <unistd.h>

#include "driver/uart.h"
#include "esp_idf_version.h"
#include "esp_log.h"
#include "freertos/FreeRTOS.h"
#include "rig_frames.h"
#include "sdkconfig.h"

#if !CONFIG_ESP_CONSOLE_UART
#error "The rig agent needs the console on a UART: CONFIG_ESP_CONSOLE_UART_DEFAULT or _CUSTOM"
#endif

#if ESP_IDF_VERSION < ESP_IDF_VERSION_VAL(5, 4, 0)
/* newlib only declares flockfile() there; this is the lock its printf takes. */
#include <sys/stdio.h>
#define flockfile(file) _flockfile(file)
#define funlockfile(file) _funlockfile(file)
#endif

#define PORT ((uart_port_t)CONFIG_ESP_CONSOLE_UART_NUM)

/* The whole window arrives while one sector is erased, and a request may follow. */
#define RX_BUFFER (CONFIG_RIG_AGENT_WINDOW_FRAMES * (CONFIG_RIG_AGENT_FRAME + RIG_FRAME_OVERHEAD) + 2 * RIG_LINE_MAX)

/* The hardware holds 128 bytes: 5 ms at 115200 baud are left after the interrupt. */
#define RX_THRESHOLD 64

static const char *TAG = "rig_agent";

esp_err_t rig_console_init(void)
{
    if (uart_is_driver_installed(PORT)) {
        return ESP_OK;
    }
#if CONFIG_UART_ISR_IN_IRAM
    /* Receives while flash is erased and code in flash cannot run. */
    const int flags = ESP_INTR_FLAG_IRAM;
#else
    const int flags = 0;
#endif
    esp_err_t error = uart_driver_install(PORT, RX_BUFFER, 0, 0, NULL, flags);
    if (error == ESP_OK) {
        error = uart_set_rx_full_threshold(PORT, RX_THRESHOLD);
    }
    return error;
}

size_t rig_console_read(uint8_t *data, size_t size, uint32_t timeout_ms)
{
    /* uart_read_bytes waits for all it is asked for: ask for one byte, then for what there is. */
    if (uart_read_bytes(PORT, data, 1, pdMS_TO_TICKS(timeout_ms)) != 1) {
        return 0;
    }
    size_t waiting = 0;
    if (uart_get_buffered_data_len(PORT, &waiting) != ESP_OK || waiting == 0 || size < 2) {
        return 1;
    }
    const uint32_t wanted = (uint32_t)(waiting < size - 1 ? waiting : size - 1);
    const int more = uart_read_bytes(PORT, data + 1, wanted, 0);
    return more > 0 ? 1 + (size_t)more : 1;
}

esp_err_t rig_console_send(rig_writer_t *line)
{
    const size_t length = rig_writer_end(line);
    if (length == 0) {
        ESP_LOGE(TAG, "a line of the contract is longer than %d bytes and was not sent", RIG_LINE_MAX);
        return ESP_ERR_INVALID_SIZE;
    }
    /* Log lines hold the same lock. */
    flockfile(stdout);
    fflush(stdout);
    const ssize_t written = write(fileno(stdout), line->text, length);
    funlockfile(stdout);
    return written == (ssize_t)length ? ESP_OK : ESP_FAIL;
}

void rig_console_drain(void)
{
    fflush(stdout);
    fsync(fileno(stdout));
}
