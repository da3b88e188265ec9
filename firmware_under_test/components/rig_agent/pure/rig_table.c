#include "rig_table.h"

#include <string.h>

#define ROW_SIZE 32
#define MAGIC_0 0xaa
#define MAGIC_1 0x50

static uint32_t word_at(const uint8_t *bytes)
{
    return (uint32_t)bytes[3] << 24 | (uint32_t)bytes[2] << 16 | (uint32_t)bytes[1] << 8 | bytes[0];
}

size_t rig_table_count(const uint8_t *table, size_t size)
{
    size_t count = 0;
    while ((count + 1) * ROW_SIZE <= size && table[count * ROW_SIZE] == MAGIC_0 &&
           table[count * ROW_SIZE + 1] == MAGIC_1) {
        count++;
    }
    return count;
}

bool rig_table_row(const uint8_t *table, size_t size, size_t index, rig_table_row_t *row)
{
    if (index >= rig_table_count(table, size)) {
        return false;
    }
    const uint8_t *bytes = table + index * ROW_SIZE;
    row->type = bytes[2];
    row->subtype = bytes[3];
    row->offset = word_at(bytes + 4);
    row->size = word_at(bytes + 8);
    memcpy(row->label, bytes + 12, 16);
    row->label[16] = '\0';
    row->flags = word_at(bytes + 28);
    return true;
}
