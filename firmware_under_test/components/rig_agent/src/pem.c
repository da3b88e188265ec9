#include "rig_agent_pem.h"

#include "rig_args.h"

esp_err_t rig_pem_take(rig_call_t *call, rig_pem_t *pem, const char *what)
{
    rig_field_t field;
    uint32_t offset;
    /* A piece that comes twice gives the same; one that is missing cannot be passed over. */
    const esp_err_t error = rig_call_number(call, "offset", 0, (uint32_t)pem->size, &offset);
    if (error != ESP_OK) {
        return error;
    }
    size_t length = 0;
    if (rig_line_find(call->request, "data", &field)) {
        length = rig_field_decode(&field, pem->text + offset, pem->room - 1 - offset);
    }
    if (length == SIZE_MAX) {
        pem->size = 0;
        return rig_call_refuse(call, ESP_ERR_INVALID_SIZE, "%s: at most %u bytes", what, (unsigned)(pem->room - 1));
    }
    pem->size = offset + length;
    pem->text[pem->size] = '\0';
    rig_writer_number(call->answer, "size", (uint32_t)pem->size);
    return ESP_OK;
}

const char *rig_pem_text(const rig_pem_t *pem)
{
    return pem->size > 0 ? pem->text : NULL;
}
