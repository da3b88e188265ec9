/* The command `ca`: certificates of the update server's authority, sent in pieces, kept until the next reset. */
#include <string.h>

#include "network.h"
#include "rig_args.h"

static char s_pem[RIG_CA_SIZE];
static size_t s_size;

const char *rig_ca_pem(void)
{
    return s_size > 0 ? s_pem : NULL;
}

esp_err_t rig_command_ca(rig_call_t *call)
{
    rig_field_t field;
    uint32_t offset;
    /* A piece that comes twice gives the same; one that is missing cannot be passed over. */
    const esp_err_t error = rig_call_number(call, "offset", 0, (uint32_t)s_size, &offset);
    if (error != ESP_OK) {
        return error;
    }
    size_t length = 0;
    if (rig_line_find(call->request, "data", &field)) {
        length = rig_field_decode(&field, s_pem + offset, sizeof(s_pem) - 1 - offset);
    }
    if (length == SIZE_MAX) {
        s_size = 0;
        return rig_call_refuse(call, ESP_ERR_INVALID_SIZE, "certificates have at most %d bytes", RIG_CA_SIZE - 1);
    }
    s_size = offset + length;
    s_pem[s_size] = '\0';
    rig_writer_number(call->answer, "size", (uint32_t)s_size);
    return ESP_OK;
}
