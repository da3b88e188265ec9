#include "ends.h"

#include "console.h"
#include "esp_cpu.h"
#include "esp_log.h"
#include "esp_ota_ops.h"
#include "esp_system.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "rig_agent.h"
#include "slots.h"
#include "watch.h"

static const char *TAG = "rig_agent";

/* esp_restart() may be called with little stack left. */
static rig_writer_t s_shutdown_line;

static void report_shutdown(void)
{
    rig_writer_begin(&s_shutdown_line, 0, "shutdown");
    rig_otadata_add(&s_shutdown_line);
    rig_console_send(&s_shutdown_line);
    rig_console_drain();
}

static void report_restart(const char *cause)
{
    rig_writer_t line;
    rig_writer_begin(&line, 0, "restart");
    rig_writer_text(&line, "cause", cause);
    rig_console_send(&line);
}

void rig_ends_init(void)
{
    const esp_err_t error = esp_register_shutdown_handler(report_shutdown);
    if (error != ESP_OK) {
        ESP_LOGE(TAG, "no shutdown handler: %s", esp_err_to_name(error));
    }
}

void rig_agent_restart(const char *cause)
{
    report_restart(cause);
    ESP_LOGI(TAG, "Prepare to restart system!");
    esp_restart();
}

esp_err_t rig_agent_reject(const char *cause)
{
    report_restart(cause);
    return esp_ota_mark_app_invalid_rollback_and_reboot();
}

void rig_agent_crash(rig_crash_t kind)
{
    if (kind == RIG_CRASH_PANIC) {
        int *volatile nowhere = NULL;
        *nowhere = 0;
        /* An emulator may have memory there. An instruction that is none ends in the same panic. */
        __builtin_trap();
    }
    if (kind == RIG_CRASH_WATCHDOG) {
        rig_watch_join();
        for (;;) {
            /* Never yields, but does not heat the chip, nor an emulator's host. */
            esp_cpu_wait_for_intr();
        }
    }
    rig_watch_leave();
    for (;;) {
        vTaskSuspend(NULL);
    }
}
