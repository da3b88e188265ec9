/* One operation after the other over a pipe, so that Python can ask the C code.
 *
 * In:  operation (1 byte), length (4), payload.   Out: length (4), payload.   Numbers are little-endian.
 * Every payload lies in memory of exactly its size, so that a sanitizer sees each read behind it.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    const uint8_t *data;
    size_t size;
} bytes_t;

static uint8_t s_out[1 << 20];
static size_t s_out_size;

static void out(const void *data, size_t size)
{
    if (size > sizeof(s_out) - s_out_size) {
        abort();
    }
    if (size > 0) {
        memcpy(s_out + s_out_size, data, size);
    }
    s_out_size += size;
}

static void out_number(uint64_t value, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        const uint8_t byte = (uint8_t)(value >> 8 * i);
        out(&byte, 1);
    }
}

static void out_text(const char *text, size_t size)
{
    out_number(size, 2);
    out(text, size);
}

static const uint8_t *take(bytes_t *in, size_t size)
{
    if (size > in->size) {
        abort();
    }
    const uint8_t *taken = in->data;
    in->data += size;
    in->size -= size;
    return taken;
}

static uint32_t take_number(bytes_t *in, size_t size)
{
    const uint8_t *data = take(in, size);
    uint32_t value = 0;
    while (size-- > 0) {
        value = value << 8 | data[size];
    }
    return value;
}

static char *take_text(bytes_t *in, size_t length_size)
{
    const size_t size = take_number(in, length_size);
    char *text = malloc(size + 1);
    memcpy(text, take(in, size), size);
    text[size] = '\0';
    return text;
}

static void operate(int operation, bytes_t in);

int main(void)
{
    uint8_t head[5];
    while (fread(head, 1, sizeof(head), stdin) == sizeof(head)) {
        const size_t size = (size_t)head[1] | (size_t)head[2] << 8 | (size_t)head[3] << 16 | (size_t)head[4] << 24;
        uint8_t *payload = malloc(size);
        if (fread(payload, 1, size, stdin) != size) {
            return 1;
        }
        s_out_size = 0;
        operate(head[0], (bytes_t) {payload, size});
        free(payload);
        const uint8_t length[4] = {(uint8_t)s_out_size, (uint8_t)(s_out_size >> 8), (uint8_t)(s_out_size >> 16),
                                   (uint8_t)(s_out_size >> 24)};
        fwrite(length, 1, sizeof(length), stdout);
        fwrite(s_out, 1, s_out_size, stdout);
        fflush(stdout);
    }
    return 0;
}
