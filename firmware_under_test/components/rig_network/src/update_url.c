/* The command `update_url`: download an image into a slot; the boot partition stays as it is. */
#include <string.h>

#include "esp_http_client.h"
#include "esp_ota_ops.h"
#include "network.h"
#include "rig_agent.h"
#include "rig_args.h"
#include "rig_sha256.h"

#define URL_SIZE 384
#define TIMEOUT_DEFAULT_S 20
#define TIMEOUT_MAX_S 120
#define PROGRESS_BYTES 32768
#define REDIRECTIONS_MAX 5

/* What was asked for, and how far it has come; one at a time. */
static struct {
    char url[URL_SIZE];
    char common_name[64];
    uint32_t timeout_s;
    const esp_partition_t *slot;
    bool has_sha256;
    uint8_t sha256[RIG_SHA256_SIZE];
    rig_sha256_t digest;
    esp_ota_handle_t handle;
    uint32_t written;
    uint32_t reported;
} s_job;

static char s_piece[4096];

static esp_err_t read_slot(rig_call_t *call)
{
    char name[RIG_SLOT_NAME_SIZE];
    s_job.slot = NULL;
    if (rig_arg_text(call->request, "slot", name, sizeof(name))) {
        s_job.slot = strcmp(name, "next") == 0 ? esp_ota_get_next_update_partition(NULL) : rig_agent_slot(name);
    }
    return s_job.slot != NULL ? ESP_OK : rig_call_refuse(call, ESP_ERR_INVALID_ARG, "no such slot");
}

static esp_err_t read_job(rig_call_t *call)
{
    memset(&s_job, 0, sizeof(s_job));
    s_job.timeout_s = TIMEOUT_DEFAULT_S;
    if (!rig_arg_text(call->request, "url", s_job.url, sizeof(s_job.url)) || s_job.url[0] == '\0') {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "url: up to %d bytes", URL_SIZE - 1);
    }
    if (!rig_arg_text(call->request, "common_name", s_job.common_name, sizeof(s_job.common_name))) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "common_name: up to 63 bytes");
    }
    s_job.has_sha256 = rig_arg_given(call->request, "sha256");
    if (s_job.has_sha256 && !rig_arg_bytes(call->request, "sha256", s_job.sha256, sizeof(s_job.sha256))) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "sha256: 64 hexadecimal digits");
    }
    if (rig_arg_given(call->request, "timeout")) {
        const esp_err_t error = rig_call_number(call, "timeout", 1, TIMEOUT_MAX_S, &s_job.timeout_s);
        if (error != ESP_OK) {
            return error;
        }
    }
    return read_slot(call);
}

static bool is_redirection(int status)
{
    return status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
}

/* Up to the first byte of the image; follows redirections. */
static esp_err_t connect_to(rig_call_t *call, esp_http_client_handle_t client)
{
    for (int hop = 0; hop <= REDIRECTIONS_MAX; hop++) {
        esp_err_t error = esp_http_client_open(client, 0);
        if (error != ESP_OK) {
            return rig_call_refuse(call, error, "cannot connect, or the server's certificate was refused");
        }
        if (esp_http_client_fetch_headers(client) < 0) {
            return rig_call_refuse(call, ESP_ERR_HTTP_FETCH_HEADER, "no answer from the server");
        }
        const int status = esp_http_client_get_status_code(client);
        if (!is_redirection(status)) {
            return status == 200 ? ESP_OK : rig_call_refuse(call, ESP_FAIL, "the server answered %d", status);
        }
        error = esp_http_client_set_redirection(client);
        if (error != ESP_OK) {
            return rig_call_refuse(call, error, "the server answered %d without a place to go to", status);
        }
        esp_http_client_close(client);
    }
    return rig_call_refuse(call, ESP_ERR_HTTP_MAX_REDIRECT, "more than %d redirections", REDIRECTIONS_MAX);
}

static esp_err_t store(rig_call_t *call, size_t size)
{
    rig_agent_lock();
    const esp_err_t error = esp_ota_write(s_job.handle, s_piece, size);
    rig_agent_unlock();
    if (error != ESP_OK) {
        return rig_call_refuse(call, error, "at offset %lu", (unsigned long)s_job.written);
    }
    rig_sha256_update(&s_job.digest, s_piece, size);
    s_job.written += (uint32_t)size;
    if (s_job.written - s_job.reported >= PROGRESS_BYTES) {
        s_job.reported = s_job.written;
        rig_call_progress(call, s_job.written);
    }
    return ESP_OK;
}

static esp_err_t download(rig_call_t *call, esp_http_client_handle_t client)
{
    for (;;) {
        const int size = esp_http_client_read(client, s_piece, sizeof(s_piece));
        if (size < 0) {
            return rig_call_refuse(call, ESP_ERR_TIMEOUT, "the connection broke after %lu bytes",
                                   (unsigned long)s_job.written);
        }
        if (size == 0) {
            break;
        }
        const esp_err_t error = store(call, (size_t)size);
        if (error != ESP_OK) {
            return error;
        }
    }
    if (!esp_http_client_is_complete_data_received(client)) {
        return rig_call_refuse(call, ESP_ERR_INVALID_SIZE, "the download ended after %lu of %lld bytes",
                               (unsigned long)s_job.written, (long long)esp_http_client_get_content_length(client));
    }
    return ESP_OK;
}

static esp_err_t check_sha256(rig_call_t *call)
{
    uint8_t digest[RIG_SHA256_SIZE];
    rig_sha256_finish(&s_job.digest, digest);
    if (s_job.has_sha256 && memcmp(digest, s_job.sha256, sizeof(digest)) != 0) {
        return rig_call_refuse(call, ESP_ERR_INVALID_CRC, "SHA-256 differs");
    }
    return ESP_OK;
}

static esp_err_t fill_slot(rig_call_t *call, esp_http_client_handle_t client)
{
    rig_agent_lock();
    esp_err_t error = esp_ota_begin(s_job.slot, OTA_WITH_SEQUENTIAL_WRITES, &s_job.handle);
    rig_agent_unlock();
    if (error != ESP_OK) {
        return error;
    }
    rig_sha256_init(&s_job.digest);
    error = download(call, client);
    if (error == ESP_OK) {
        error = check_sha256(call);
    }
    rig_agent_lock();
    if (error == ESP_OK) {
        error = esp_ota_end(s_job.handle);
    } else {
        esp_ota_abort(s_job.handle);
    }
    rig_agent_unlock();
    return error;
}

static esp_err_t fetch(rig_call_t *call)
{
    const esp_http_client_config_t config = {
        .url = s_job.url,
        .cert_pem = rig_ca_pem(),
        .common_name = s_job.common_name[0] != '\0' ? s_job.common_name : NULL,
        .timeout_ms = (int)(s_job.timeout_s * 1000),
        .buffer_size = sizeof(s_piece),
        .keep_alive_enable = true,
    };
    esp_http_client_handle_t client = esp_http_client_init(&config);
    if (client == NULL) {
        return rig_call_refuse(call, ESP_ERR_INVALID_ARG, "url: %.90s", s_job.url);
    }
    esp_err_t error = connect_to(call, client);
    if (error == ESP_OK) {
        error = fill_slot(call, client);
    }
    esp_http_client_cleanup(client);
    return error;
}

esp_err_t rig_command_update_url(rig_call_t *call)
{
    esp_err_t error = read_job(call);
    if (error == ESP_OK && !rig_network_has_address()) {
        error = rig_call_refuse(call, ESP_ERR_INVALID_STATE, "no address yet: send net first");
    }
    if (error != ESP_OK) {
        return error;
    }
    /* Nobody may wait for the network while the OTA code is locked. */
    rig_agent_unlock();
    rig_link_stay_awake();
    error = fetch(call);
    rig_writer_text(call->answer, "power_save", rig_link_power_save());
    rig_link_may_sleep();
    rig_agent_lock();
    if (error == ESP_OK) {
        char name[RIG_SLOT_NAME_SIZE];
        rig_writer_text(call->answer, "slot", rig_agent_slot_name(s_job.slot, name));
        rig_writer_hex(call->answer, "offset", s_job.slot->address);
        rig_writer_number(call->answer, "length", s_job.written);
    }
    return error;
}
