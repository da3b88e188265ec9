/* The pure C of rig_agent behind a pipe, so that Python can hold it to rig/protocol.py. */
#include "pipe.h"
#include "rig_args.h"
#include "rig_crc32.h"
#include "rig_cut_operation.h"
#include "rig_cut_record.h"
#include "rig_frames.h"
#include "rig_input.h"
#include "rig_line.h"
#include "rig_sha256.h"
#include "rig_table.h"
#include "rig_transfer.h"
#include "rig_utf8.h"
#include "rig_writer.h"

static void parse(bytes_t in)
{
    rig_line_t line;
    rig_field_t field;
    size_t position = 0;
    const rig_line_verdict_t verdict = rig_line_parse((const char *)in.data, in.size, &line);
    out_number(verdict, 1);
    if (verdict != RIG_LINE_GOOD) {
        return;
    }
    out_number(rig_line_is_request(&line), 1);
    out_number(line.id, 4);
    out_text(line.word, line.word_length);
    while (rig_line_next_field(&line, &position, &field)) {
        char *value = malloc(field.value_length);
        const size_t size = rig_field_decode(&field, value, field.value_length);
        out_text(field.name, field.name_length);
        out_text(value, size);
        free(value);
    }
}

static void encode(bytes_t in)
{
    rig_writer_t writer;
    const uint32_t id = take_number(&in, 4);
    char *word = take_text(&in, 1);
    rig_writer_begin(&writer, id, word);
    free(word);
    while (in.size > 0) {
        char *name = take_text(&in, 1);
        const size_t size = take_number(&in, 2);
        char *value = malloc(size);
        memcpy(value, take(&in, size), size);
        rig_writer_add(&writer, name, value, size);
        free(value);
        free(name);
    }
    out(writer.text, rig_writer_end(&writer));
}

static void encode_numbers(bytes_t in)
{
    rig_writer_t writer;
    const uint32_t number = take_number(&in, 4);
    rig_writer_begin(&writer, 0, "numbers");
    rig_writer_number(&writer, "decimal", number);
    rig_writer_hex(&writer, "hex", number);
    rig_writer_flag(&writer, "flag", number != 0);
    rig_writer_bytes(&writer, "bytes", in.data, in.size);
    out(writer.text, rig_writer_end(&writer));
}

static void number_argument(bytes_t in)
{
    rig_line_t line;
    uint32_t value = 0;
    char *name = take_text(&in, 1);
    const uint32_t low = take_number(&in, 4);
    const uint32_t high = take_number(&in, 4);
    const bool good = rig_line_parse((const char *)in.data, in.size, &line) == RIG_LINE_GOOD &&
                      rig_arg_number(&line, name, low, high, &value);
    out_number(good, 1);
    out_number(good ? value : 0, 4);
    free(name);
}

static void text_argument(bytes_t in)
{
    rig_line_t line;
    char *name = take_text(&in, 1);
    const size_t room = take_number(&in, 2);
    char *text = malloc(room);
    uint8_t digest[32];
    const bool good = rig_line_parse((const char *)in.data, in.size, &line) == RIG_LINE_GOOD;
    out_number(good && rig_arg_text(&line, name, text, room), 1);
    out_number(good && rig_arg_given(&line, name), 1);
    out_number(good && rig_arg_bytes(&line, name, digest, sizeof(digest)), 1);
    if (good) {
        out(text, strlen(text));
    }
    free(text);
    free(name);
}

static void sha256(bytes_t in)
{
    rig_sha256_t sha;
    uint8_t digest[RIG_SHA256_SIZE];
    const size_t piece = take_number(&in, 2);
    rig_sha256_init(&sha);
    while (in.size > 0) {
        const size_t size = piece > 0 && piece < in.size ? piece : in.size;
        rig_sha256_update(&sha, take(&in, size), size);
    }
    rig_sha256_finish(&sha, digest);
    out(digest, sizeof(digest));
}

static void table(bytes_t in)
{
    rig_table_row_t row;
    out_number(rig_table_count(in.data, in.size), 2);
    for (size_t i = 0; rig_table_row(in.data, in.size, i, &row); i++) {
        out_number(row.type, 1);
        out_number(row.subtype, 1);
        out_number(row.offset, 4);
        out_number(row.size, 4);
        out_number(row.flags, 4);
        out_text(row.label, strlen(row.label));
    }
}

static void input(bytes_t in, bool from_start)
{
    static rig_input_t s_input;
    if (from_start) {
        rig_input_clear(&s_input);
    }
    for (size_t i = 0; i < in.size; i++) {
        if (rig_input_put(&s_input, (char)in.data[i])) {
            out_text(s_input.text, s_input.length);
        }
    }
}

/* --- the cut line's record: between operations it lies with the caller, as in RTC memory --- */

static rig_cut_record_t take_record(bytes_t *in)
{
    rig_cut_record_t record;
    memcpy(&record, take(in, sizeof(record)), sizeof(record));
    return record;
}

static void seal_record(bytes_t in)
{
    rig_cut_record_t record;
    memset(&record, 0xa5, sizeof(record));
    record.program = take_number(&in, 4);
    record.nth = take_number(&in, 4);
    record.delay_us = take_number(&in, 4);
    record.start = take_number(&in, 4);
    record.end = take_number(&in, 4);
    rig_cut_record_seal(&record);
    out(&record, sizeof(record));
}

static void clear_record(bytes_t in)
{
    rig_cut_record_t record = take_record(&in);
    rig_cut_record_clear(&record);
    out(&record, sizeof(record));
}

static void record_is_good(bytes_t in)
{
    const rig_cut_record_t record = take_record(&in);
    out_number(rig_cut_record_good(&record), 1);
}

static void record_names(bytes_t in)
{
    const rig_cut_record_t record = take_record(&in);
    const bool program = take_number(&in, 1) != 0;
    const uint32_t address = take_number(&in, 4);
    const uint32_t size = take_number(&in, 4);
    out_number(rig_cut_record_names(&record, program, address, size), 1);
}

static void flash_command(bytes_t in)
{
    bool program = false;
    const uint32_t command = take_number(&in, 4);
    const uint32_t size = rig_cut_size(command, take_number(&in, 4), &program);
    out_number(program, 1);
    out_number(size, 4);
}

static uint8_t *new_buffer(uint8_t *old, size_t size)
{
    free(old);
    return malloc(size);
}

static void frames(bytes_t in, bool from_start)
{
    static rig_frames_t s_frames;
    static uint8_t *s_buffer;
    rig_frame_t frame;
    if (from_start) {
        const size_t capacity = RIG_FRAME_OVERHEAD + take_number(&in, 2);
        s_buffer = new_buffer(s_buffer, capacity);
        rig_frames_init(&s_frames, s_buffer, capacity);
    }
    while (in.size > 0) {
        const size_t taken = rig_frames_put(&s_frames, in.data, in.size);
        if (taken == 0) {
            abort();
        }
        take(&in, taken);
        for (rig_frames_result_t found; (found = rig_frames_next(&s_frames, &frame)) != RIG_FRAMES_MORE;) {
            out_number(found, 1);
            if (found == RIG_FRAMES_FOUND) {
                out_number(frame.type, 1);
                out_number(frame.offset, 4);
                out_text((const char *)frame.payload, frame.length);
            }
        }
    }
}

/* --- transfer: the clock stands still while one piece is taken --- */

static int64_t s_now;
static uint32_t s_refuse_at;
static uint32_t s_stored;

static int store(void *context, const uint8_t *data, size_t size)
{
    (void)context;
    if (s_stored >= s_refuse_at) {
        return 0x1503;
    }
    out_number('w', 1);
    out_text((const char *)data, size);
    s_stored += (uint32_t)size;
    return 0;
}

static void progress(void *context, const char *word, uint32_t offset)
{
    (void)context;
    out_number((uint8_t)word[0], 1);
    out_number(offset, 4);
}

static int64_t now_ms(void *context)
{
    (void)context;
    return s_now;
}

static void transfer(bytes_t in, bool from_start)
{
    static const rig_transfer_io_t io = {.write = store, .progress = progress, .now_ms = now_ms};
    static rig_transfer_t s_transfer;
    static uint8_t *s_buffer;
    s_now = take_number(&in, 4);
    if (from_start) {
        const uint32_t size = take_number(&in, 4);
        const uint32_t timeout = take_number(&in, 4);
        const size_t capacity = RIG_FRAME_OVERHEAD + take_number(&in, 2);
        s_refuse_at = take_number(&in, 4);
        s_stored = 0;
        s_buffer = new_buffer(s_buffer, capacity);
        rig_transfer_init(&s_transfer, &io, s_buffer, capacity, size, timeout);
        return;
    }
    const rig_transfer_status_t status = rig_transfer_take(&s_transfer, in.data, in.size);
    out_number('s', 1);
    out_number(status, 1);
    out_number(rig_transfer_left_ms(&s_transfer), 4);
}

static void operate(int operation, bytes_t in)
{
    uint32_t number = 0;
    switch (operation) {
    case 'P': parse(in); break;
    case 'E': encode(in); break;
    case '#': encode_numbers(in); break;
    case 'A': number_argument(in); break;
    case 'B': text_argument(in); break;
    case 'U': out_number(rig_utf8_valid((const char *)in.data, in.size), 1); break;
    case 'C': out_number(rig_crc32(0, in.data, in.size), 4); break;
    case 'N':
        out_number(rig_number((const char *)in.data, in.size, &number), 1);
        out_number(number, 4);
        break;
    case 'S': sha256(in); break;
    case 'T': table(in); break;
    case 'I': input(in, true); break;
    case 'i': input(in, false); break;
    case 'F': frames(in, true); break;
    case 'f': frames(in, false); break;
    case 'K': seal_record(in); break;
    case 'k': record_is_good(in); break;
    case 'Z': clear_record(in); break;
    case 'n': record_names(in); break;
    case 'o': flash_command(in); break;
    case 'X': transfer(in, true); break;
    case 'x': transfer(in, false); break;
    default: abort();
    }
}
