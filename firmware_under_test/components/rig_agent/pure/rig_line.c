#include "rig_line.h"

#include <string.h>

#include "rig_crc32.h"
#include "rig_utf8.h"

#define MARK "@rig "
#define MARK_SIZE (sizeof(MARK) - 1)
#define SEAL_SIZE (sizeof(" *12345678") - 1)

static bool is_lower(char c)
{
    return c >= 'a' && c <= 'z';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_name(const char *text, size_t size)
{
    if (size == 0 || !is_lower(text[0])) {
        return false;
    }
    for (size_t i = 1; i < size; i++) {
        if (!is_lower(text[i]) && !is_digit(text[i]) && text[i] != '_') {
            return false;
        }
    }
    return true;
}

static int upper_hex(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    return (c >= 'A' && c <= 'F') ? c - 'A' + 10 : -1;
}

static int lower_hex(char c)
{
    if (is_digit(c)) {
        return c - '0';
    }
    return (c >= 'a' && c <= 'f') ? c - 'a' + 10 : -1;
}

static const char *last_mark(const char *raw, size_t size)
{
    for (size_t at = size; at >= MARK_SIZE; at--) {
        if (memcmp(raw + at - MARK_SIZE, MARK, MARK_SIZE) == 0) {
            return raw + at - MARK_SIZE;
        }
    }
    return NULL;
}

static size_t without_line_end(const char *text, size_t size)
{
    if (size > 0 && text[size - 1] == '\n') {
        size--;
    }
    while (size > 0 && text[size - 1] == '\r') {
        size--;
    }
    return size;
}

/* Bytes of the line in front of its seal; 0 when there is none or it does not fit. */
static size_t sealed_body(const char *text, size_t size)
{
    if (size < MARK_SIZE + SEAL_SIZE) {
        return 0;
    }
    const size_t body = size - SEAL_SIZE;
    if (text[body] != ' ' || text[body + 1] != '*') {
        return 0;
    }
    uint32_t crc = 0;
    for (size_t i = body + 2; i < size; i++) {
        const int digit = lower_hex(text[i]);
        if (digit < 0) {
            return 0;
        }
        crc = crc << 4 | (uint32_t)digit;
    }
    return crc == rig_crc32(0, text, body) ? body : 0;
}

static size_t part_length(const char *text, size_t size)
{
    const char *space = memchr(text, ' ', size);
    return space == NULL ? size : (size_t)(space - text);
}

/* "-" is 0; false for anything that is no id. */
static bool read_id(const char *text, size_t size, uint32_t *id)
{
    if (size == 1 && text[0] == '-') {
        *id = 0;
        return true;
    }
    uint64_t number = 0;
    if (size == 0 || size > 10 || text[0] == '0') {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        if (!is_digit(text[i])) {
            return false;
        }
        number = number * 10 + (uint64_t)(text[i] - '0');
    }
    *id = (uint32_t)number;
    return number <= UINT32_MAX;
}

static bool value_is_valid(const rig_field_t *field)
{
    char decoded[RIG_LINE_MAX];
    for (size_t i = 0; i < field->value_length; i++) {
        const char c = field->value[i];
        if (c == '%') {
            if (i + 2 >= field->value_length || upper_hex(field->value[i + 1]) < 0 ||
                upper_hex(field->value[i + 2]) < 0) {
                return false;
            }
            i += 2;
        } else if (c <= 0x20 || c >= 0x7f || c == '*' || c == '=' || c == '@') {
            return false;
        }
    }
    const size_t length = rig_field_decode(field, decoded, sizeof(decoded));
    return length != SIZE_MAX && rig_utf8_valid(decoded, length);
}

static bool fields_are_valid(const rig_line_t *line)
{
    rig_field_t field, other;
    size_t position = 0;
    while (position < line->fields_length) {
        const size_t begin = position;
        if (!rig_line_next_field(line, &position, &field) || !is_name(field.name, field.name_length) ||
            !value_is_valid(&field)) {
            return false;
        }
        size_t earlier = 0;
        while (earlier < begin && rig_line_next_field(line, &earlier, &other)) {
            if (other.name_length == field.name_length && memcmp(other.name, field.name, field.name_length) == 0) {
                return false;
            }
        }
    }
    return true;
}

rig_line_verdict_t rig_line_parse(const char *raw, size_t size, rig_line_t *line)
{
    const char *text = last_mark(raw, size);
    if (text == NULL) {
        return RIG_LINE_OTHER;
    }
    size -= (size_t)(text - raw);
    if (size > RIG_LINE_MAX + 1) {
        return RIG_LINE_BAD;
    }
    const size_t body = sealed_body(text, without_line_end(text, size));
    if (body == 0) {
        return RIG_LINE_BAD;
    }
    const char *at = text + MARK_SIZE;
    const char *end = text + body;
    const size_t id_length = part_length(at, (size_t)(end - at));
    if (!read_id(at, id_length, &line->id) || at + id_length == end) {
        return RIG_LINE_BAD;
    }
    line->word = at + id_length + 1;
    line->word_length = part_length(line->word, (size_t)(end - line->word));
    line->fields = line->word + line->word_length;
    line->fields_length = (size_t)(end - line->fields);
    if (!is_name(line->word, line->word_length) || !fields_are_valid(line)) {
        return RIG_LINE_BAD;
    }
    return RIG_LINE_GOOD;
}

bool rig_line_is(const rig_line_t *line, const char *text)
{
    return strlen(text) == line->word_length && memcmp(line->word, text, line->word_length) == 0;
}

bool rig_line_is_request(const rig_line_t *line)
{
    static const char *const answers[] = {"ok", "err", "ack", "nak", "fail"};
    for (size_t i = 0; i < sizeof(answers) / sizeof(answers[0]); i++) {
        if (rig_line_is(line, answers[i])) {
            return false;
        }
    }
    return line->id != 0;
}

bool rig_line_next_field(const rig_line_t *line, size_t *position, rig_field_t *field)
{
    if (*position >= line->fields_length || line->fields[*position] != ' ') {
        return false;
    }
    const char *part = line->fields + *position + 1;
    const size_t length = part_length(part, line->fields_length - *position - 1);
    const char *equals = memchr(part, '=', length);
    if (equals == NULL) {
        return false;
    }
    field->name = part;
    field->name_length = (size_t)(equals - part);
    field->value = equals + 1;
    field->value_length = length - field->name_length - 1;
    *position += 1 + length;
    return true;
}

bool rig_line_find(const rig_line_t *line, const char *name, rig_field_t *field)
{
    size_t position = 0;
    while (rig_line_next_field(line, &position, field)) {
        if (strlen(name) == field->name_length && memcmp(field->name, name, field->name_length) == 0) {
            return true;
        }
    }
    return false;
}

size_t rig_field_decode(const rig_field_t *field, char *out, size_t size)
{
    size_t used = 0;
    for (size_t i = 0; i < field->value_length; i++) {
        char c = field->value[i];
        if (c == '%' && i + 2 < field->value_length) {
            c = (char)(upper_hex(field->value[i + 1]) << 4 | upper_hex(field->value[i + 2]));
            i += 2;
        }
        if (used == size) {
            return SIZE_MAX;
        }
        out[used++] = c;
    }
    return used;
}
