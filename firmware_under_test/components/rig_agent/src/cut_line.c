/* The command `cut_line` (PROTOCOL.md, section 9): a GPIO rises within a flash operation.
 *
 * The driver of the main flash sends each command to the chip through a table of functions (spi_flash_types.h,
 * spi_flash_host_driver_s) and then asks the chip until it is idle. Four of these functions are replaced: once the true
 * one has sent its command, the operation has begun and the CPU is ours. The cache is off then, so all that is needed
 * lies in internal RAM. Most chips are erased and programmed by functions of their own (erase_sector, erase_block,
 * program_page), those of Winbond and GigaDevice by common_command (spi_flash_chip_winbond.c). */
#include "cut_line.h"

#include <string.h>

#include "agent_private.h"
#include "bootloader_common.h"
#include "driver/gpio.h"
#include "esp_attr.h"
#include "esp_flash.h"
#include "esp_image_format.h"
#include "esp_ipc.h"
#include "esp_ota_ops.h"
#include "esp_partition.h"
#include "esp_rom_sys.h"
#include "hal/spi_flash_types.h"
#include "rig_args.h"
#include "rig_cut_operation.h"
#include "rig_cut_record.h"
#include "sdkconfig.h"

#if !CONFIG_GPIO_CTRL_FUNC_IN_IRAM
#error "The cut line needs CONFIG_GPIO_CTRL_FUNC_IN_IRAM"
#endif

#define GPIO_NUMBER ((gpio_num_t)CONFIG_RIG_CUT_LINE_GPIO)
#define RANGES_MAX 18
#define NTH_MAX 100000
#define DELAY_MAX_US 1000000
#define HOLD_US 1000000

_Static_assert(sizeof(rig_cut_record_t) <= CONFIG_BOOTLOADER_CUSTOM_RESERVE_RTC_SIZE,
               "CONFIG_BOOTLOADER_CUSTOM_RESERVE_RTC_SIZE has no room for the cut line");

typedef struct {
    uint32_t start;
    uint32_t end;
} range_t;

/* Read with the cache off. `s_left` is 0 while nothing is armed. */
static DRAM_ATTR volatile uint32_t s_left;
static DRAM_ATTR bool s_program;
static DRAM_ATTR uint32_t s_delay_us;
static DRAM_ATTR range_t s_ranges[RANGES_MAX];
static DRAM_ATTR size_t s_range_count;
static DRAM_ATTR const spi_flash_host_driver_t *s_true;
static DRAM_ATTR spi_flash_host_driver_t s_ours;
/* A function of the table may be made of another: that is one operation. */
static DRAM_ATTR bool s_inside;

static bool IRAM_ATTR is_meant(uint32_t address, uint32_t size)
{
    for (size_t i = 0; i < s_range_count; i++) {
        if (rig_cut_touches(s_ranges[i].start, s_ranges[i].end, address, size)) {
            return true;
        }
    }
    return false;
}

static void IRAM_ATTR begun(bool program, uint32_t address, uint32_t size)
{
    if (s_left == 0 || s_program != program || !is_meant(address, size) || --s_left > 0) {
        return;
    }
    esp_rom_delay_us(s_delay_us);
    gpio_set_level(GPIO_NUMBER, CONFIG_RIG_CUT_LINE_LEVEL);
    esp_rom_delay_us(HOLD_US);
    gpio_set_level(GPIO_NUMBER, !CONFIG_RIG_CUT_LINE_LEVEL);
}

static void IRAM_ATTR erase_sector(spi_flash_host_inst_t *host, uint32_t address)
{
    s_inside = true;
    s_true->erase_sector(host, address);
    s_inside = false;
    begun(false, address, RIG_CUT_SECTOR_SIZE);
}

static void IRAM_ATTR erase_block(spi_flash_host_inst_t *host, uint32_t address)
{
    s_inside = true;
    s_true->erase_block(host, address);
    s_inside = false;
    begun(false, address, RIG_CUT_BLOCK_SIZE);
}

static void IRAM_ATTR program_page(spi_flash_host_inst_t *host, const void *data, uint32_t address, uint32_t size)
{
    s_inside = true;
    s_true->program_page(host, data, address, size);
    s_inside = false;
    begun(true, address, size);
}

static esp_err_t IRAM_ATTR common_command(spi_flash_host_inst_t *host, spi_flash_trans_t *command)
{
    bool program;
    const uint32_t size = rig_cut_size(command->command, command->mosi_len, &program);
    const esp_err_t error = s_true->common_command(host, command);
    if (size > 0 && error == ESP_OK && !s_inside) {
        begun(program, command->address, size);
    }
    return error;
}

static void install(void)
{
    spi_flash_host_inst_t *const host = esp_flash_default_chip->host;
    if (s_true == NULL) {
        s_true = host->driver;
        s_ours = *s_true;
        s_ours.erase_sector = erase_sector;
        s_ours.erase_block = erase_block;
        s_ours.program_page = program_page;
        s_ours.common_command = common_command;
        host->driver = &s_ours;
    }
}

/* RTC fast memory of the ESP32 is there for its first core only. */
static void keep(void *record)
{
    memcpy(bootloader_common_get_rtc_retain_mem()->custom, record, sizeof(rig_cut_record_t));
}

static void keep_on_first_core(rig_cut_record_t *record)
{
#if CONFIG_FREERTOS_UNICORE
    keep(record);
#else
    esp_ipc_call_blocking(0, keep, record);
#endif
}

static void disarm(void)
{
    rig_cut_record_t none;
    s_left = 0;
    rig_cut_record_clear(&none);
    keep_on_first_core(&none);
}

void rig_cut_line_init(void)
{
    disarm();
}

static esp_err_t prepare_gpio(void)
{
    const gpio_config_t config = {
        .pin_bit_mask = 1ULL << CONFIG_RIG_CUT_LINE_GPIO,
        .mode = GPIO_MODE_OUTPUT,
    };
    gpio_set_level(GPIO_NUMBER, !CONFIG_RIG_CUT_LINE_LEVEL);
    return gpio_config(&config);
}

static void mean(const esp_partition_t *partition)
{
    if (partition != NULL && s_range_count < RANGES_MAX) {
        s_ranges[s_range_count++] = (range_t) {partition->address, partition->address + partition->size};
    }
}

static void mean_slots(void)
{
    esp_partition_iterator_t each = esp_partition_find(ESP_PARTITION_TYPE_APP, ESP_PARTITION_SUBTYPE_ANY, NULL);
    while (each != NULL) {
        mean(esp_partition_get(each));
        each = esp_partition_next(each);
    }
}

static esp_err_t arm(rig_call_t *call, bool in_bootloader, bool slots, bool program)
{
    uint32_t nth = 1;
    uint32_t delay_us = 0;
    esp_err_t error = ESP_OK;
    if (rig_arg_given(call->request, "nth")) {
        error = rig_call_number(call, "nth", 1, NTH_MAX, &nth);
    }
    if (error == ESP_OK && rig_arg_given(call->request, "delay_us")) {
        error = rig_call_number(call, "delay_us", 0, DELAY_MAX_US, &delay_us);
    }
    if (error != ESP_OK) {
        return error;
    }
    if (in_bootloader && slots) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "the bootloader writes no slot");
    }
    if (in_bootloader && program && delay_us > 0) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "delay_us: only 0 for a program of the bootloader");
    }
    disarm();
    s_range_count = 0;
    if (slots) {
        mean_slots();
    } else {
        mean(esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_DATA_OTA, NULL));
    }
    if (s_range_count == 0) {
        return rig_call_refuse(call, ESP_ERR_NOT_FOUND, "no such partition");
    }
    error = prepare_gpio();
    if (error != ESP_OK) {
        return error;
    }
    if (in_bootloader) {
        rig_cut_record_t record = {
            .program = program, .nth = nth, .delay_us = delay_us, .start = s_ranges[0].start, .end = s_ranges[0].end};
        rig_cut_record_seal(&record);
        keep_on_first_core(&record);
    } else {
        install();
        s_program = program;
        s_delay_us = delay_us;
        s_left = nth;
    }
    rig_writer_number(call->answer, "nth", nth);
    rig_writer_number(call->answer, "delay_us", delay_us);
    return ESP_OK;
}

static esp_err_t cut_line(rig_call_t *call)
{
    static const char *const operations[] = {"otadata_erase", "otadata_program", "slot_erase", "slot_program", "off",
                                             NULL};
    static const char *const places[] = {"app", "bootloader", NULL};
    enum { OTADATA_PROGRAM = 1, SLOT_ERASE, SLOT_PROGRAM, OFF };
    char op[16];
    char place[12];
    const int wanted = rig_arg_text(call->request, "op", op, sizeof(op)) ? rig_choice(op, operations) : -1;
    const int where = !rig_arg_given(call->request, "in")                        ? 0
                      : rig_arg_text(call->request, "in", place, sizeof(place)) ? rig_choice(place, places)
                                                                                 : -1;
    if (wanted < 0) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG,
                               "op: otadata_erase, otadata_program, slot_erase, slot_program, off");
    }
    if (wanted != OFF && where < 0) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "in: app, bootloader");
    }
    rig_writer_text(call->answer, "op", op);
    if (wanted == OFF) {
        disarm();
    } else {
        rig_writer_text(call->answer, "in", places[where]);
        const esp_err_t error =
            arm(call, where == 1, wanted >= SLOT_ERASE, wanted == OTADATA_PROGRAM || wanted == SLOT_PROGRAM);
        if (error != ESP_OK) {
            return error;
        }
    }
    rig_writer_number(call->answer, "gpio", CONFIG_RIG_CUT_LINE_GPIO);
    return ESP_OK;
}

const rig_command_t rig_cut_line_commands[] = {
    {"cut_line", cut_line, false},
};

const size_t rig_cut_line_commands_count = sizeof(rig_cut_line_commands) / sizeof(rig_cut_line_commands[0]);
