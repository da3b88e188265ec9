#include "watch.h"

#include "esp_err.h"
#include "sdkconfig.h"

#if CONFIG_ESP_TASK_WDT_EN

#include "esp_task_wdt.h"

void rig_watch_join(void)
{
    if (esp_task_wdt_status(NULL) == ESP_ERR_NOT_FOUND) {
        esp_task_wdt_add(NULL);
    }
    rig_watch_feed();
}

void rig_watch_feed(void)
{
    if (esp_task_wdt_status(NULL) == ESP_OK) {
        esp_task_wdt_reset();
    }
}

void rig_watch_leave(void)
{
    if (esp_task_wdt_status(NULL) == ESP_OK) {
        esp_task_wdt_delete(NULL);
    }
}

#else

void rig_watch_join(void) {}
void rig_watch_feed(void) {}
void rig_watch_leave(void) {}

#endif
