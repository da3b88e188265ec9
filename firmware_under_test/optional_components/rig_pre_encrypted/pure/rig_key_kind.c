#include "rig_key_kind.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Of a PKCS #8 key, as far as its algorithm: two headers of at most 5 bytes, a version, the longer identifier. */
#define HEAD_SIZE 30

static int digit(char c)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const char *found = c == '\0' ? NULL : strchr(digits, c);
    return found == NULL ? -1 : (int)(found - digits);
}

/* Bytes decoded. Ends at the first character that is neither a digit of base64 nor the end of a line. */
static size_t decode(const char *text, uint8_t *out, size_t size)
{
    uint32_t bits = 0;
    unsigned count = 0;
    size_t length = 0;
    for (; length < size; text++) {
        if (*text == '\r' || *text == '\n') {
            continue;
        }
        const int value = digit(*text);
        if (value < 0) {
            break;
        }
        bits = (bits << 6 | (uint32_t)value) & 0xffff;
        count += 6;
        if (count >= 8) {
            count -= 8;
            out[length++] = (uint8_t)(bits >> count);
        }
    }
    return length;
}

static bool holds(const uint8_t *data, size_t size, const uint8_t *wanted, size_t wanted_size)
{
    for (size_t i = 0; i + wanted_size <= size; i++) {
        if (memcmp(data + i, wanted, wanted_size) == 0) {
            return true;
        }
    }
    return false;
}

static rig_key_kind_t kind_of_pkcs8(const char *content)
{
    /* Object identifiers rsaEncryption (RFC 8017) and id-ecPublicKey (RFC 5480). */
    static const uint8_t rsa[] = {0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01};
    static const uint8_t ec[] = {0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01};
    uint8_t head[HEAD_SIZE];
    const size_t size = decode(content, head, sizeof(head));
    if (holds(head, size, rsa, sizeof(rsa))) {
        return RIG_KEY_RSA;
    }
    return holds(head, size, ec, sizeof(ec)) ? RIG_KEY_EC : RIG_KEY_OTHER;
}

rig_key_kind_t rig_key_kind(const char *pem)
{
    static const char pkcs8[] = "-----BEGIN PRIVATE KEY-----";
    if (strstr(pem, "-----BEGIN RSA PRIVATE KEY-----") != NULL) {
        return RIG_KEY_RSA;
    }
    if (strstr(pem, "-----BEGIN EC PRIVATE KEY-----") != NULL) {
        return RIG_KEY_EC;
    }
    const char *label = strstr(pem, pkcs8);
    return label == NULL ? RIG_KEY_OTHER : kind_of_pkcs8(label + strlen(pkcs8));
}
