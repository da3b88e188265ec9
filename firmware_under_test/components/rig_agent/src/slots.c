#include "slots.h"

#include <stdio.h>
#include <string.h>

#include "esp_flash.h"
#include "esp_flash_partitions.h"
#include "esp_idf_version.h"
#include "esp_ota_ops.h"
#include "rig_args.h"

#if ESP_IDF_VERSION >= ESP_IDF_VERSION_VAL(6, 0, 1)
#include "esp_efuse.h"
#define flash_is_encrypted() esp_efuse_is_flash_encryption_enabled()
#else
#include "esp_flash_encrypt.h"
#define flash_is_encrypted() esp_flash_encryption_enabled()
#endif

_Static_assert(RIG_TABLE_SIZE == ESP_PARTITION_TABLE_MAX_LEN, "the table's size is part of the contract");

const char *rig_agent_slot_name(const esp_partition_t *slot, char name[RIG_SLOT_NAME_SIZE])
{
    if (slot == NULL || slot->type != ESP_PARTITION_TYPE_APP) {
        strcpy(name, "-");
    } else if (slot->subtype == ESP_PARTITION_SUBTYPE_APP_FACTORY) {
        strcpy(name, "factory");
    } else if (slot->subtype == ESP_PARTITION_SUBTYPE_APP_TEST) {
        strcpy(name, "test");
    } else {
        const unsigned number = (unsigned)(slot->subtype - ESP_PARTITION_SUBTYPE_APP_OTA_MIN) & 15;
        snprintf(name, RIG_SLOT_NAME_SIZE, "ota_%u", number);
    }
    return name;
}

const esp_partition_t *rig_agent_slot(const char *name)
{
    uint32_t number;
    esp_partition_subtype_t subtype;
    const size_t length = strlen(name);
    if (strcmp(name, "factory") == 0) {
        subtype = ESP_PARTITION_SUBTYPE_APP_FACTORY;
    } else if (strcmp(name, "test") == 0) {
        subtype = ESP_PARTITION_SUBTYPE_APP_TEST;
    } else if (length >= 5 && length <= 6 && strncmp(name, "ota_", 4) == 0 &&
               rig_number(name + 4, length - 4, &number) && number < 16 && (length == 5 || name[4] != '0')) {
        subtype = (esp_partition_subtype_t)(ESP_PARTITION_SUBTYPE_APP_OTA_MIN + number);
    } else {
        return NULL;
    }
    return esp_partition_find_first(ESP_PARTITION_TYPE_APP, subtype, NULL);
}

void rig_slot_add(rig_writer_t *line, const char *field, const esp_partition_t *slot)
{
    char name[RIG_SLOT_NAME_SIZE];
    rig_writer_text(line, field, rig_agent_slot_name(slot, name));
}

const char *rig_error_name(esp_err_t error, char text[RIG_STATE_SIZE])
{
    const char *name = esp_err_to_name(error);
    /* For a code without a name it says "UNKNOWN ERROR" or "ERROR". */
    if (strncmp(name, "ESP_", 4) == 0) {
        snprintf(text, RIG_STATE_SIZE, "%s", name);
    } else {
        snprintf(text, RIG_STATE_SIZE, "0x%x", (unsigned)error);
    }
    return text;
}

const char *rig_agent_slot_state(const esp_partition_t *slot, char text[RIG_STATE_SIZE])
{
    static const char *const names[] = {"NEW", "PENDING_VERIFY", "VALID", "INVALID", "ABORTED"};
    esp_ota_img_states_t state;
    const esp_err_t error = esp_ota_get_state_partition(slot, &state);
    if (error != ESP_OK) {
        return rig_error_name(error, text);
    }
    if ((uint32_t)state < sizeof(names) / sizeof(names[0])) {
        strcpy(text, names[state]);
    } else if (state == ESP_OTA_IMG_UNDEFINED) {
        strcpy(text, "UNDEFINED");
    } else {
        snprintf(text, RIG_STATE_SIZE, "0x%x", (unsigned)state);
    }
    return text;
}

const esp_partition_t *rig_otadata(void)
{
    return esp_partition_find_first(ESP_PARTITION_TYPE_DATA, ESP_PARTITION_SUBTYPE_DATA_OTA, NULL);
}

esp_err_t rig_otadata_add(rig_writer_t *line)
{
    static const char *const names[] = {"entry0", "entry1"};
    uint8_t entries[2][RIG_ENTRY_SIZE];
    const esp_partition_t *otadata = rig_otadata();
    if (otadata == NULL) {
        return ESP_ERR_NOT_FOUND;
    }
    for (size_t i = 0; i < 2; i++) {
        const esp_err_t error = esp_partition_read(otadata, i * otadata->erase_size, entries[i], RIG_ENTRY_SIZE);
        if (error != ESP_OK) {
            return error;
        }
    }
    for (size_t i = 0; i < 2; i++) {
        rig_writer_bytes(line, names[i], entries[i], RIG_ENTRY_SIZE);
    }
    return ESP_OK;
}

esp_err_t rig_table_read(uint8_t *table)
{
    if (flash_is_encrypted()) {
        return esp_flash_read_encrypted(esp_flash_default_chip, ESP_PARTITION_TABLE_OFFSET, table, RIG_TABLE_SIZE);
    }
    return esp_flash_read(esp_flash_default_chip, table, ESP_PARTITION_TABLE_OFFSET, RIG_TABLE_SIZE);
}
