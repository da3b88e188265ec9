/* CRC-32 of zlib, as PROTOCOL.md section 2 uses it for lines and frames. No ESP-IDF in here. */
#pragma once

#include <stddef.h>
#include <stdint.h>

/**
 * @brief CRC-32 (polynomial 0xEDB88320, start and final XOR 0xFFFFFFFF), the same as `esp_rom_crc32_le(crc, …)`
 *
 * @param crc 0 for the first piece, the last result for the next one
 */
uint32_t rig_crc32(uint32_t crc, const void *data, size_t size);
