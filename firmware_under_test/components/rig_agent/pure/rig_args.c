#include "rig_args.h"

#include <string.h>

static int digit_of(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }
    return (c >= 'A' && c <= 'F') ? c - 'A' + 10 : 16;
}

bool rig_number(const char *text, size_t size, uint32_t *value)
{
    uint32_t base = 10;
    if (size > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        base = 16;
        text += 2;
        size -= 2;
    }
    uint64_t number = 0;
    if (size == 0) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        const uint32_t digit = (uint32_t)digit_of(text[i]);
        if (digit >= base) {
            return false;
        }
        number = number * base + digit;
        if (number > UINT32_MAX) {
            return false;
        }
    }
    *value = (uint32_t)number;
    return true;
}

bool rig_arg_number(const rig_line_t *line, const char *name, uint32_t low, uint32_t high, uint32_t *value)
{
    char text[RIG_LINE_MAX];
    rig_field_t field;
    if (!rig_line_find(line, name, &field)) {
        return false;
    }
    const size_t length = rig_field_decode(&field, text, sizeof(text));
    return length != SIZE_MAX && rig_number(text, length, value) && *value >= low && *value <= high;
}

bool rig_arg_text(const rig_line_t *line, const char *name, char *out, size_t size)
{
    rig_field_t field;
    out[0] = '\0';
    if (!rig_line_find(line, name, &field)) {
        return true;
    }
    const size_t length = rig_field_decode(&field, out, size - 1);
    if (length == SIZE_MAX || memchr(out, '\0', length) != NULL) {
        out[0] = '\0';
        return false;
    }
    out[length] = '\0';
    return true;
}

bool rig_arg_given(const rig_line_t *line, const char *name)
{
    rig_field_t field;
    return rig_line_find(line, name, &field);
}

bool rig_arg_bytes(const rig_line_t *line, const char *name, uint8_t *out, size_t size)
{
    char text[RIG_LINE_MAX];
    rig_field_t field;
    if (!rig_line_find(line, name, &field) || rig_field_decode(&field, text, sizeof(text)) != 2 * size) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        const int high = digit_of(text[2 * i]);
        const int low = digit_of(text[2 * i + 1]);
        if (high > 15 || low > 15) {
            return false;
        }
        out[i] = (uint8_t)(high << 4 | low);
    }
    return true;
}

int rig_choice(const char *text, const char *const *list)
{
    for (int i = 0; list[i] != NULL; i++) {
        if (strcmp(text, list[i]) == 0) {
            return i;
        }
    }
    return -1;
}
