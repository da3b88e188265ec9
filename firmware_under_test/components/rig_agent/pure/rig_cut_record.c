#include "rig_cut_record.h"

#include "rig_crc32.h"

#define MAGIC 0x544c5543 /* CULT */

static uint32_t check_of(const rig_cut_record_t *record)
{
    return rig_crc32(0, record, sizeof(*record) - sizeof(record->check));
}

void rig_cut_record_seal(rig_cut_record_t *record)
{
    record->magic = MAGIC;
    record->check = check_of(record);
}

bool rig_cut_record_good(const rig_cut_record_t *record)
{
    return record->magic == MAGIC && record->check == check_of(record) && record->nth > 0;
}

void rig_cut_record_clear(rig_cut_record_t *record)
{
    *record = (rig_cut_record_t) {0};
}

bool rig_cut_record_names(const rig_cut_record_t *record, bool program, uint32_t address, uint32_t size)
{
    return (record->program != 0) == program && rig_cut_touches(record->start, record->end, address, size);
}
