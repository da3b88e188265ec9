/* The cut line in the bootloader (PROTOCOL.md, section 9): what the app armed in RTC memory, done once.
 *
 * ESP-IDF's bootloader writes otadata by bootloader_flash_erase_sector() and bootloader_flash_write()
 * (bootloader_utility.c, write_otadata). The linker lets both pass here. */
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "bootloader_common.h"
#include "bootloader_flash_priv.h"
#include "esp_err.h"
#include "esp_rom_gpio.h"
#include "esp_rom_spiflash.h"
#include "esp_rom_sys.h"
#include "hal/gpio_ll.h"
#include "rig_cut_record.h"
#include "sdkconfig.h"
#include "soc/reset_reasons.h"

/* As W25Q and every other NOR flash with 4 KiB sectors names them. */
#define WRITE_ENABLE 0x06
#define ERASE_SECTOR 0x20
#define SECTOR_SIZE 4096
#define HOLD_US 1000000

_Static_assert(sizeof(rig_cut_record_t) <= CONFIG_BOOTLOADER_CUSTOM_RESERVE_RTC_SIZE,
               "CONFIG_BOOTLOADER_CUSTOM_RESERVE_RTC_SIZE has no room for the cut line");

esp_err_t __real_bootloader_flash_erase_sector(size_t sector);
esp_err_t __wrap_bootloader_flash_erase_sector(size_t sector);
esp_err_t __real_bootloader_flash_write(size_t address, void *data, size_t size, bool encrypted);
esp_err_t __wrap_bootloader_flash_write(size_t address, void *data, size_t size, bool encrypted);

static bool s_taken;
static rig_cut_record_t s_record;

/* Once, and gone from RTC memory before anything happens: the boot after the cut must not be cut again. */
static void take(void)
{
    uint8_t *const kept = bootloader_common_get_rtc_retain_mem()->custom;
    s_taken = true;
    memcpy(&s_record, kept, sizeof(s_record));
    memset(kept, 0, sizeof(s_record));
    /* After power-on RTC memory may still hold what it held long ago. */
    if (!rig_cut_record_good(&s_record) || esp_rom_get_reset_reason(0) == RESET_REASON_CHIP_POWER_ON) {
        rig_cut_record_clear(&s_record);
    }
}

static bool is_due(bool program, uint32_t address, uint32_t size)
{
    if (!s_taken) {
        take();
    }
    if (s_record.nth == 0 || !rig_cut_record_names(&s_record, program, address, size)) {
        return false;
    }
    return --s_record.nth == 0;
}

static void cut(void)
{
    const uint32_t gpio = CONFIG_RIG_CUT_LINE_GPIO;
    esp_rom_gpio_pad_select_gpio(gpio);
    gpio_ll_set_level(&GPIO, gpio, !CONFIG_RIG_CUT_LINE_LEVEL);
    gpio_ll_output_enable(&GPIO, gpio);
    esp_rom_delay_us(s_record.delay_us);
    gpio_ll_set_level(&GPIO, gpio, CONFIG_RIG_CUT_LINE_LEVEL);
    esp_rom_delay_us(HOLD_US);
    gpio_ll_set_level(&GPIO, gpio, !CONFIG_RIG_CUT_LINE_LEVEL);
}

/* The ROM's function returns when the erase is over, which is too late. */
static void begin_erase(uint32_t address)
{
    const uint32_t first_byte_first = (address >> 16 & 0xff) | (address & 0xff00) | (address & 0xff) << 16;
    esp_rom_spiflash_wait_idle(&g_rom_flashchip);
    bootloader_execute_flash_command(WRITE_ENABLE, 0, 0, 0);
    bootloader_execute_flash_command(ERASE_SECTOR, first_byte_first, 24, 0);
}

esp_err_t __wrap_bootloader_flash_erase_sector(size_t sector)
{
    if (!is_due(false, sector * SECTOR_SIZE, SECTOR_SIZE)) {
        return __real_bootloader_flash_erase_sector(sector);
    }
    begin_erase(sector * SECTOR_SIZE);
    cut();
    return esp_rom_spiflash_wait_idle(&g_rom_flashchip) == ESP_ROM_SPIFLASH_RESULT_OK ? ESP_OK : ESP_FAIL;
}

esp_err_t __wrap_bootloader_flash_write(size_t address, void *data, size_t size, bool encrypted)
{
    if (is_due(true, address, size)) {
        cut();
    }
    return __real_bootloader_flash_write(address, data, size, encrypted);
}
