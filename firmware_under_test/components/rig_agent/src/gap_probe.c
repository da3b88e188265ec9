/* The commands `gap_begin` and `gap_end` (PROTOCOL.md, section 8): how long interrupts are kept waiting, above all
 * while flash is erased and written. Two GPTimers interrupt with the same period; one interrupt is allowed while the
 * cache is off, the other is not, as that of any driver whose code lies in flash. */
#include "agent_private.h"
#include "driver/gptimer.h"
#include "esp_attr.h"
#include "esp_cpu.h"
#include "esp_intr_alloc.h"
#include "esp_private/gptimer.h"
#include "rig_args.h"
#include "sdkconfig.h"

#if !CONFIG_GPTIMER_ISR_IRAM_SAFE && !CONFIG_GPTIMER_ISR_CACHE_SAFE
#error "The gap probe needs CONFIG_GPTIMER_ISR_IRAM_SAFE (up to v5.4) or CONFIG_GPTIMER_ISR_CACHE_SAFE"
#endif

#define PERIOD_DEFAULT_US 100
#define PERIOD_MIN_US 50
#define PERIOD_MAX_US 10000

typedef struct {
    gptimer_handle_t timer;
    volatile uint32_t count;
    uint32_t last;    /* CPU cycles; they wrap, but no gap is that long */
    uint32_t longest;
} probe_t;

static DRAM_ATTR probe_t s_iram;
static DRAM_ATTR probe_t s_flash;
static uint32_t s_period_us;

static bool IRAM_ATTR on_alarm(gptimer_handle_t timer, const gptimer_alarm_event_data_t *event, void *context)
{
    (void)timer;
    (void)event;
    probe_t *probe = context;
    const uint32_t now = esp_cpu_get_cycle_count();
    if (probe->count > 0 && now - probe->last > probe->longest) {
        probe->longest = now - probe->last;
    }
    probe->last = now;
    probe->count++;
    return false;
}

static void drop(probe_t *probe)
{
    if (probe->timer != NULL) {
        gptimer_stop(probe->timer);
        gptimer_disable(probe->timer);
        gptimer_del_timer(probe->timer);
        probe->timer = NULL;
    }
}

static esp_err_t prepare(probe_t *probe, bool in_iram)
{
    const gptimer_config_t config = {
        .clk_src = GPTIMER_CLK_SRC_DEFAULT,
        .direction = GPTIMER_COUNT_UP,
        .resolution_hz = 1000000,
    };
    const gptimer_event_callbacks_t callbacks = {.on_alarm = on_alarm};
    const gptimer_alarm_config_t alarm = {.alarm_count = s_period_us, .flags.auto_reload_on_alarm = true};
    intr_handle_t interrupt = NULL;

    *probe = (probe_t) {0};
    esp_err_t error = gptimer_new_timer(&config, &probe->timer);
    if (error == ESP_OK) {
        error = gptimer_register_event_callbacks(probe->timer, &callbacks, probe);
    }
    if (error == ESP_OK) {
        error = gptimer_get_intr_handle(probe->timer, &interrupt);
    }
    if (error == ESP_OK) {
        error = esp_intr_set_in_iram(interrupt, in_iram);
    }
    if (error == ESP_OK) {
        error = gptimer_set_alarm_action(probe->timer, &alarm);
    }
    return error == ESP_OK ? gptimer_enable(probe->timer) : error;
}

static esp_err_t gap_begin(rig_call_t *call)
{
    uint32_t period = PERIOD_DEFAULT_US;
    esp_err_t error = ESP_OK;
    if (s_iram.timer != NULL) {
        return rig_call_refuse(call, ESP_ERR_INVALID_STATE, "the probe runs already");
    }
    if (rig_arg_given(call->request, "period_us")) {
        error = rig_call_number(call, "period_us", PERIOD_MIN_US, PERIOD_MAX_US, &period);
    }
    if (error != ESP_OK) {
        return error;
    }
    s_period_us = period;
    error = prepare(&s_iram, true);
    if (error == ESP_OK) {
        error = prepare(&s_flash, false);
    }
    if (error == ESP_OK) {
        error = gptimer_start(s_iram.timer);
    }
    if (error == ESP_OK) {
        error = gptimer_start(s_flash.timer);
    }
    if (error != ESP_OK) {
        drop(&s_iram);
        drop(&s_flash);
        return error;
    }
    rig_writer_number(call->answer, "period_us", period);
    return ESP_OK;
}

static uint32_t microseconds(uint32_t cycles)
{
    return cycles / CONFIG_ESP_DEFAULT_CPU_FREQ_MHZ;
}

static esp_err_t gap_end(rig_call_t *call)
{
    if (s_iram.timer == NULL) {
        return rig_call_refuse(call, ESP_ERR_INVALID_STATE, "the probe does not run");
    }
    drop(&s_iram);
    drop(&s_flash);
    rig_writer_number(call->answer, "iram_us", microseconds(s_iram.longest));
    rig_writer_number(call->answer, "flash_us", microseconds(s_flash.longest));
    rig_writer_number(call->answer, "iram_count", s_iram.count);
    rig_writer_number(call->answer, "flash_count", s_flash.count);
    rig_writer_number(call->answer, "period_us", s_period_us);
    return ESP_OK;
}

const rig_command_t rig_gap_commands[] = {
    {"gap_begin", gap_begin, false},
    {"gap_end", gap_end, false},
};

const size_t rig_gap_commands_count = sizeof(rig_gap_commands) / sizeof(rig_gap_commands[0]);
