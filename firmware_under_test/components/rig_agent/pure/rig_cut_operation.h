/* Which flash operations the cut line counts (PROTOCOL.md, section 9). Inlined by force: the app asks with the cache off,
 * from IRAM. No ESP-IDF in here. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#define RIG_CUT_INLINE static inline __attribute__((always_inline))

#define RIG_CUT_SECTOR_SIZE 0x1000
#define RIG_CUT_BLOCK_SIZE 0x10000

/** @brief Whether an operation of `size` bytes at `address` touches flash from `start` up to, but not with, `end` */
RIG_CUT_INLINE bool rig_cut_touches(uint32_t start, uint32_t end, uint32_t address, uint32_t size)
{
    return address < end && (address > start || start - address < size);
}

/** @brief How many bytes a command to the flash chip erases or programs, 0 for any other command
 *
 * The codes are the same for every NOR flash with 3 or 4 bytes of address. `data_size`: bytes that are sent with it. */
RIG_CUT_INLINE uint32_t rig_cut_size(uint32_t command, uint32_t data_size, bool *program)
{
    *program = command == 0x02 || command == 0x12;
    if (*program) {
        return data_size;
    }
    if (command == 0x20 || command == 0x21) {
        return RIG_CUT_SECTOR_SIZE;
    }
    return command == 0xd8 || command == 0xdc ? RIG_CUT_BLOCK_SIZE : 0;
}
