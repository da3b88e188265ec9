/* The command `update_url`. */
#include "esp_ota_ops.h"
#include "https_ota.h"
#include "network.h"
#include "rig_agent.h"
#include "rig_update_request.h"

static esp_err_t check_ready(rig_call_t *call, const rig_update_request_t *request)
{
    if (!rig_network_has_address()) {
        return rig_call_refuse(call, ESP_ERR_INVALID_STATE, "no address yet: send net first");
    }
    if (rig_url_is_https(request->url) && rig_ca_pem() == NULL) {
        return rig_call_refuse(call, ESP_ERR_INVALID_STATE, "no certificate of an authority yet: send ca first");
    }
    return ESP_OK;
}

static void add_slot(rig_writer_t *answer, const char *name, const esp_partition_t *slot)
{
    char text[RIG_SLOT_NAME_SIZE];
    rig_writer_text(answer, name, rig_agent_slot_name(slot, text));
}

esp_err_t rig_command_update_url(rig_call_t *call)
{
    static rig_update_request_t request;
    const char *wrong = rig_update_request_read(call->request, &request);
    if (wrong != NULL) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "%s", wrong);
    }
    esp_err_t error = check_ready(call, &request);
    if (error != ESP_OK) {
        return error;
    }
    const esp_partition_t *slot = esp_ota_get_next_update_partition(NULL);
    /* Nobody may wait for the network while the OTA code is locked. */
    rig_agent_unlock();
    if (!request.keep_power_save) {
        rig_link_stay_awake();
    }
    rig_writer_text(call->answer, "power_save", rig_link_power_save());
    error = rig_https_ota(call, &request, slot);
    if (!request.keep_power_save) {
        rig_link_may_sleep();
    }
    rig_agent_lock();
    if (error == ESP_OK) {
        add_slot(call->answer, "slot", slot);
        rig_writer_hex(call->answer, "offset", slot->address);
        rig_writer_number(call->answer, "length", call->offset);
        add_slot(call->answer, "boot", esp_ota_get_boot_partition());
    }
    return error;
}
