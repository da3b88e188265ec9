#include "rig_writer.h"

#include <string.h>

#include "rig_crc32.h"
#include "rig_utf8.h"

static void put(rig_writer_t *writer, const char *text, size_t size)
{
    if (size > sizeof(writer->text) - writer->length) {
        writer->too_long = true;
        return;
    }
    memcpy(writer->text + writer->length, text, size);
    writer->length += size;
}

static void put_hex(rig_writer_t *writer, const uint8_t *data, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < size; i++) {
        const char pair[2] = {digits[data[i] >> 4], digits[data[i] & 0x0f]};
        put(writer, pair, sizeof(pair));
    }
}

static void put_decimal(rig_writer_t *writer, uint32_t value)
{
    char text[10];
    size_t at = sizeof(text);
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value != 0);
    put(writer, text + at, sizeof(text) - at);
}

static void put_escaped(rig_writer_t *writer, char c)
{
    static const char digits[] = "0123456789ABCDEF";
    const uint8_t byte = (uint8_t)c;
    if (byte > 0x20 && byte < 0x7f && c != '%' && c != '*' && c != '=' && c != '@') {
        put(writer, &c, 1);
        return;
    }
    const char escaped[3] = {'%', digits[byte >> 4], digits[byte & 0x0f]};
    put(writer, escaped, sizeof(escaped));
}

static void put_name(rig_writer_t *writer, const char *name)
{
    put(writer, " ", 1);
    put(writer, name, strlen(name));
    put(writer, "=", 1);
}

void rig_writer_begin(rig_writer_t *writer, uint32_t id, const char *word)
{
    writer->length = 0;
    writer->too_long = false;
    put(writer, "@rig ", 5);
    if (id == 0) {
        put(writer, "-", 1);
    } else {
        put_decimal(writer, id);
    }
    put(writer, " ", 1);
    put(writer, word, strlen(word));
}

void rig_writer_add(rig_writer_t *writer, const char *name, const char *value, size_t size)
{
    put_name(writer, name);
    size_t length;
    for (size_t at = 0; at < size && !writer->too_long; at += length) {
        if (!rig_utf8_next(value + at, size - at, &length)) {
            put(writer, "%EF%BF%BD", 9);
            continue;
        }
        for (size_t i = 0; i < length; i++) {
            put_escaped(writer, value[at + i]);
        }
    }
}

void rig_writer_text(rig_writer_t *writer, const char *name, const char *value)
{
    rig_writer_add(writer, name, value, strlen(value));
}

void rig_writer_number(rig_writer_t *writer, const char *name, uint32_t value)
{
    put_name(writer, name);
    put_decimal(writer, value);
}

void rig_writer_hex(rig_writer_t *writer, const char *name, uint32_t value)
{
    static const char digits[] = "0123456789abcdef";
    char text[8];
    size_t at = sizeof(text);
    do {
        text[--at] = digits[value & 0x0f];
        value >>= 4;
    } while (value != 0);
    put_name(writer, name);
    put(writer, "0x", 2);
    put(writer, text + at, sizeof(text) - at);
}

void rig_writer_flag(rig_writer_t *writer, const char *name, bool value)
{
    put_name(writer, name);
    put(writer, value ? "1" : "0", 1);
}

void rig_writer_bytes(rig_writer_t *writer, const char *name, const void *data, size_t size)
{
    put_name(writer, name);
    put_hex(writer, data, size);
}

size_t rig_writer_end(rig_writer_t *writer)
{
    const uint32_t crc = rig_crc32(0, writer->text, writer->length);
    const uint8_t seal[4] = {(uint8_t)(crc >> 24), (uint8_t)(crc >> 16), (uint8_t)(crc >> 8), (uint8_t)crc};
    put(writer, " *", 2);
    put_hex(writer, seal, sizeof(seal));
    put(writer, "\n", 1);
    return writer->too_long ? 0 : writer->length;
}
