#include "rig_agent.h"

#include <stdarg.h>
#include <stdio.h>

#include "agent_private.h"
#include "console.h"
#include "cut_line.h"
#include "ends.h"
#include "esp_app_desc.h"
#include "esp_log.h"
#include "esp_ota_ops.h"
#include "esp_system.h"
#include "freertos/FreeRTOS.h"
#include "freertos/semphr.h"
#include "freertos/task.h"
#include "rig_args.h"
#include "rig_input.h"
#include "sdkconfig.h"
#include "slots.h"
#include "store.h"
#include "watch.h"

/* How often the task watchdog is fed while nothing comes. */
#define POLL_MS 500
#define TABLES_MAX 8

typedef struct {
    const rig_command_t *commands;
    size_t count;
} table_t;

static const char *TAG = "rig_agent";

static table_t s_tables[TABLES_MAX];
static size_t s_table_count;
static StaticSemaphore_t s_lock_memory;
static SemaphoreHandle_t s_lock;
static rig_input_t s_input;
static rig_writer_t s_answer;
static uint8_t s_chunk[256];
static size_t s_chunk_used;
static size_t s_chunk_size;

const char *rig_agent_reset_reason(void)
{
    /* In the order of esp_reset_reason_t; the later ones came with v5.1.1 and v5.2. */
    static const char *const names[] = {
        "UNKNOWN", "POWERON", "EXT", "SW", "PANIC", "INT_WDT", "TASK_WDT", "WDT", "DEEPSLEEP", "BROWNOUT", "SDIO",
        "USB", "JTAG", "EFUSE", "PWR_GLITCH", "CPU_LOCKUP",
    };
    _Static_assert(ESP_RST_POWERON == 1 && ESP_RST_SW == 3 && ESP_RST_TASK_WDT == 6 && ESP_RST_SDIO == 10,
                   "esp_reset_reason_t has changed");
    const size_t reason = (size_t)esp_reset_reason();
    return names[reason < sizeof(names) / sizeof(names[0]) ? reason : 0];
}

void rig_agent_lock(void)
{
    xSemaphoreTake(s_lock, portMAX_DELAY);
}

void rig_agent_unlock(void)
{
    xSemaphoreGive(s_lock);
}

void rig_agent_forget_input(void)
{
    rig_input_clear(&s_input);
    s_chunk_used = s_chunk_size;
}

esp_err_t rig_agent_add_commands(const rig_command_t *commands, size_t count)
{
    if (s_table_count == TABLES_MAX) {
        return ESP_ERR_NO_MEM;
    }
    s_tables[s_table_count++] = (table_t) {commands, count};
    return ESP_OK;
}

esp_err_t rig_call_refuse(rig_call_t *call, esp_err_t error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(call->text, sizeof(call->text), format, args);
    va_end(args);
    return error;
}

esp_err_t rig_call_number(rig_call_t *call, const char *name, uint32_t low, uint32_t high, uint32_t *value)
{
    if (rig_arg_number(call->request, name, low, high, value)) {
        return ESP_OK;
    }
    return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "%s: %lu to %lu", name, (unsigned long)low, (unsigned long)high);
}

void rig_call_progress(const rig_call_t *call, uint32_t offset)
{
    rig_writer_t line;
    rig_writer_begin(&line, call->request->id, "ack");
    rig_writer_number(&line, "offset", offset);
    rig_console_send(&line);
}

/* --- events --- */

static void add_running(rig_writer_t *line)
{
    char state[RIG_STATE_SIZE];
    const esp_partition_t *running = esp_ota_get_running_partition();
    rig_slot_add(line, "running", running);
    rig_writer_text(line, "state", rig_agent_slot_state(running, state));
}

void rig_agent_report_start(void)
{
    const esp_app_desc_t *app = esp_app_get_description();
    rig_writer_t line;
    rig_writer_begin(&line, 0, "start");
    rig_writer_number(&line, "protocol", RIG_PROTOCOL_VERSION);
    rig_writer_text(&line, "project", app->project_name);
    rig_writer_text(&line, "version", app->version);
    add_running(&line);
    rig_writer_text(&line, "reset", rig_agent_reset_reason());
    rig_writer_number(&line, "boot", rig_agent_boot());
    rig_writer_text(&line, "diag", rig_agent_diag_name(rig_agent_diag(NULL)));
    rig_otadata_add(&line);
    rig_console_send(&line);
}

void rig_agent_report_diag(rig_diag_t outcome, const char *result, esp_err_t error)
{
    char name[RIG_STATE_SIZE];
    rig_writer_t line;
    rig_writer_begin(&line, 0, "diag");
    rig_writer_text(&line, "outcome", rig_agent_diag_name(outcome));
    rig_writer_text(&line, "result", result);
    if (error != ESP_OK) {
        rig_writer_text(&line, "error", rig_error_name(error, name));
    }
    rig_console_send(&line);
}

static void report_ready(void)
{
    rig_writer_begin(&s_answer, 0, "ready");
    rig_writer_number(&s_answer, "protocol", RIG_PROTOCOL_VERSION);
    rig_writer_text(&s_answer, "version", esp_app_get_description()->version);
    add_running(&s_answer);
    rig_writer_number(&s_answer, "boot", rig_agent_boot());
    rig_console_send(&s_answer);
}

/* --- requests --- */

static const rig_command_t *find_command(const rig_line_t *request)
{
    for (size_t t = 0; t < s_table_count; t++) {
        for (size_t c = 0; c < s_tables[t].count; c++) {
            if (rig_line_is(request, s_tables[t].commands[c].name)) {
                return &s_tables[t].commands[c];
            }
        }
    }
    return NULL;
}

static esp_err_t run_command(rig_call_t *call)
{
    const rig_command_t *command = find_command(call->request);
    if (command == NULL) {
        return rig_call_refuse(call, ESP_ERR_NOT_SUPPORTED, "unknown command");
    }
    if (!command->slow) {
        return command->run(call);
    }
    rig_watch_leave();
    const esp_err_t error = command->run(call);
    rig_watch_join();
    return error;
}

static void send_error(const rig_call_t *call, uint32_t id, esp_err_t error)
{
    char name[RIG_STATE_SIZE];
    rig_writer_begin(&s_answer, id, "err");
    rig_writer_text(&s_answer, "error", rig_error_name(error, name));
    if (call->text[0] != '\0') {
        rig_writer_text(&s_answer, "text", call->text);
    }
    if (call->begun) {
        rig_writer_number(&s_answer, "offset", call->offset);
    }
    rig_console_send(&s_answer);
}

static void act_on(const rig_line_t *request)
{
    rig_call_t call = {.request = request, .answer = &s_answer};
    const uint32_t id = request->id;
    rig_writer_begin(&s_answer, id, "ok");
    rig_agent_lock();
    const esp_err_t error = run_command(&call);
    rig_agent_unlock();
    if (error != ESP_OK) {
        send_error(&call, id, error);
        return;
    }
    if (rig_console_send(&s_answer) == ESP_ERR_INVALID_SIZE) {
        /* A project or version text of many odd characters; the host must not wait for ever. */
        send_error(&call, id, rig_call_refuse(&call, ESP_ERR_INVALID_SIZE, "answer too long"));
    }
    if (call.then != NULL) {
        rig_console_drain();
        call.then();
    }
}

static void take_line(void)
{
    rig_line_t line;
    switch (rig_line_parse(s_input.text, s_input.length, &line)) {
    case RIG_LINE_GOOD:
        if (rig_line_is_request(&line)) {
            act_on(&line);
        }
        break;
    case RIG_LINE_BAD:
        rig_writer_begin(&s_answer, 0, "bad_line");
        rig_console_send(&s_answer);
        break;
    default:
        break;
    }
}

static void serve(void *unused)
{
    (void)unused;
    rig_watch_join();
    report_ready();
    for (;;) {
        rig_watch_feed();
        s_chunk_size = rig_console_read(s_chunk, sizeof(s_chunk), POLL_MS);
        s_chunk_used = 0;
        while (s_chunk_used < s_chunk_size) {
            if (rig_input_put(&s_input, (char)s_chunk[s_chunk_used++])) {
                take_line();
                rig_watch_feed();
            }
        }
    }
}

esp_err_t rig_agent_init(void)
{
    s_lock = xSemaphoreCreateMutexStatic(&s_lock_memory);
    rig_agent_add_commands(rig_query_commands, rig_query_commands_count);
    rig_agent_add_commands(rig_change_commands, rig_change_commands_count);
    rig_agent_add_commands(rig_update_commands, rig_update_commands_count);
#if CONFIG_RIG_AGENT_GAP_PROBE
    rig_agent_add_commands(rig_gap_commands, rig_gap_commands_count);
#endif
#if CONFIG_RIG_CUT_LINE
    rig_cut_line_init();
    rig_agent_add_commands(rig_cut_line_commands, rig_cut_line_commands_count);
#endif
    rig_ends_init();
    const esp_err_t store_error = rig_store_init();
    const esp_err_t console_error = rig_console_init();
    return console_error != ESP_OK ? console_error : store_error;
}

esp_err_t rig_agent_serve(void)
{
    static StackType_t stack[CONFIG_RIG_AGENT_TASK_STACK / sizeof(StackType_t)];
    static StaticTask_t task;
    const TaskHandle_t made = xTaskCreateStatic(serve, TAG, CONFIG_RIG_AGENT_TASK_STACK / sizeof(StackType_t), NULL,
                                                CONFIG_RIG_AGENT_TASK_PRIORITY, stack, &task);
    return made == NULL ? ESP_ERR_NO_MEM : ESP_OK;
}
