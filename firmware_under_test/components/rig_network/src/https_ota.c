#include "https_ota.h"

#include "connection.h"
#include "esp_https_ota.h"
#include "esp_idf_version.h"
#include "esp_ota_ops.h"
#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include "header.h"
#include "network.h"
#include "rig_agent.h"
#include "rig_agent_download.h"
#include "sdkconfig.h"
#if CONFIG_ESP_HTTPS_OTA_DECRYPT_CB
#include "rig_pre_encrypted.h"
#endif

#define SENT_PIECE 1024
#define PROGRESS_BYTES 32768
#define SECTOR 4096
/* Of its own states: what esp_https_ota returns when a piece ends within a block of 16 bytes. */
#define NOTHING_DECRYPTED 2

#if ESP_IDF_VERSION >= ESP_IDF_VERSION_VAL(5, 5, 0) && !CONFIG_ESP_HTTPS_OTA_DECRYPT_CB
#define CAN_RESUME 1
#else
#define CAN_RESUME 0
#endif
#if ESP_IDF_VERSION < ESP_IDF_VERSION_VAL(6, 0, 0) || CONFIG_ESP_HTTPS_OTA_ENABLE_PARTIAL_DOWNLOAD
#define CAN_ASK_FOR_RANGES 1
#else
#define CAN_ASK_FOR_RANGES 0
#endif

typedef struct {
    rig_call_t *call;
    const rig_update_request_t *request;
    const esp_partition_t *slot;
    esp_https_ota_handle_t handle;
    uint32_t kept;     /* bytes of the slot that the record in NVS speaks of */
    uint32_t reported; /* bytes in the last `ack` */
} run_t;

static esp_err_t check_possible(const run_t *run)
{
    if (run->request->resume && !CAN_RESUME) {
        return rig_call_refuse(run->call, ESP_ERR_NOT_SUPPORTED, "no download can be gone on with in this build");
    }
    if (run->request->request_size > 0 && !CAN_ASK_FOR_RANGES) {
        return rig_call_refuse(run->call, ESP_ERR_NOT_SUPPORTED, "no range requests in this build");
    }
#if CAN_RESUME && CONFIG_BOOTLOADER_APP_ROLLBACK_ENABLE
    /* esp_ota_begin looks for itself; esp_ota_resume does not. */
    esp_ota_img_states_t state;
    if (run->request->resume && esp_ota_get_state_partition(esp_ota_get_running_partition(), &state) == ESP_OK &&
        state == ESP_OTA_IMG_PENDING_VERIFY) {
        return rig_call_refuse(run->call, ESP_ERR_OTA_ROLLBACK_INVALID_STATE, "the running app is not confirmed");
    }
#endif
    return ESP_OK;
}

#if CONFIG_ESP_HTTPS_OTA_DECRYPT_CB
/* The key of an image is decrypted with RSA, which takes a second. */
static esp_err_t decrypt(decrypt_cb_arg_t *args, void *context)
{
    rig_connection_pause();
    const esp_err_t error = rig_decrypt_piece(args, context);
    rig_connection_listen();
    return error;
}
#endif

static esp_err_t begin(run_t *run)
{
    const rig_update_request_t *request = run->request;
    const esp_http_client_config_t http = {
        .url = request->url,
        .cert_pem = rig_ca_pem(),
        .common_name = request->common_name[0] != '\0' ? request->common_name : NULL,
        .timeout_ms = (int)(request->timeout_s * 1000),
        .event_handler = rig_connection_event,
        .buffer_size_tx = SENT_PIECE,
        .keep_alive_enable = true,
    };
    const esp_https_ota_config_t config = {
        .http_config = &http,
#if CAN_ASK_FOR_RANGES
        .partial_http_download = request->request_size > 0,
        .max_http_request_size = (int)request->request_size,
#endif
#if CAN_RESUME
        .ota_resumption = request->resume,
        .ota_image_bytes_written = run->kept,
#endif
#if CONFIG_ESP_HTTPS_OTA_DECRYPT_CB
        .decrypt_cb = decrypt,
        .enc_img_header_size = rig_decrypt_header_size(),
#endif
    };
    return esp_https_ota_begin(&config, &run->handle);
}

static esp_err_t check_header(run_t *run)
{
#if CONFIG_ESP_HTTPS_OTA_DECRYPT_CB
    /* esp_https_ota_get_img_desc() is not supported there; rig_decrypt_piece() looks. */
    (void)run;
    return ESP_OK;
#else
    esp_app_desc_t offered;
    const esp_err_t error = esp_https_ota_get_img_desc(run->handle, &offered);
    return error == ESP_OK ? rig_header_refuses(run->call, &offered) : error;
#endif
}

/* Bytes in the slot. The record is always behind what is written, at the start of a sector. */
static void report(run_t *run)
{
    const int size = esp_https_ota_get_image_len_read(run->handle);
    if (size < 0) {
        return;
    }
    run->call->begun = true;
    run->call->offset = (uint32_t)size;
    if (run->call->offset - run->reported >= PROGRESS_BYTES) {
        run->reported = run->call->offset;
        rig_call_progress(run->call, run->call->offset);
        /* A fast server and an image that is decrypted keep this task busy: the idle task has a watchdog, too. */
        vTaskDelay(1);
    }
    const uint32_t whole = run->call->offset - run->call->offset % SECTOR;
    if (run->request->resume && whole > run->kept && rig_download_keep(run->request->url, run->slot, whole) == ESP_OK) {
        run->kept = whole;
    }
}

static esp_err_t perform(run_t *run)
{
    esp_err_t error;
    if (run->kept > 0 && esp_https_ota_get_image_len_read(run->handle) != (int)run->kept) {
        /* The server did not go on where the download ended: esp_https_ota begins anew. */
        rig_download_forget();
        run->kept = 0;
    }
    run->reported = run->kept;
    do {
        error = esp_https_ota_perform(run->handle);
        report(run);
    } while (error == ESP_ERR_HTTPS_OTA_IN_PROGRESS);
#if CONFIG_ESP_HTTPS_OTA_DECRYPT_CB
    if (error == NOTHING_DECRYPTED) {
        error = rig_call_refuse(run->call, ESP_FAIL, "a piece too small to decrypt is taken for the end");
    }
#endif
    if (error == ESP_OK && !esp_https_ota_is_complete_data_received(run->handle)) {
        error = ESP_FAIL;
    }
    return error;
}

static esp_err_t download(run_t *run)
{
    esp_err_t error = run->request->check_header ? check_header(run) : ESP_OK;
    if (error == ESP_OK) {
        error = perform(run);
    }
    return error;
}

static esp_err_t finish(run_t *run)
{
    rig_agent_lock();
    const esp_err_t error = esp_https_ota_finish(run->handle);
    rig_agent_unlock();
    if (error == ESP_ERR_OTA_VALIDATE_FAILED) {
        return rig_call_refuse(run->call, error, "all bytes came, and the image is not valid");
    }
    return error;
}

/* For what esp_https_ota has no word, or only a number. */
static esp_err_t explain(run_t *run, esp_err_t error)
{
    const esp_err_t hung_up = rig_connection_leave();
    if (error == ESP_OK || run->call->text[0] != '\0') {
        return error;
    }
    if (hung_up == ESP_ERR_TIMEOUT || error == ESP_ERR_HTTP_EAGAIN || error == -ESP_ERR_HTTP_EAGAIN) {
        return rig_call_refuse(run->call, ESP_ERR_TIMEOUT, "the server said nothing for %lu s",
                               (unsigned long)run->request->timeout_s);
    }
    if (hung_up != ESP_OK) {
        return rig_call_refuse(run->call, hung_up, "more than 10 redirections");
    }
    if (error == ESP_ERR_HTTP_CONNECT) {
        return rig_call_refuse(run->call, error, "cannot connect, or the server's certificate was refused");
    }
    if (error == ESP_ERR_INVALID_VERSION) {
        return rig_call_refuse(run->call, error, "an app for another chip");
    }
    const int status = rig_connection_status();
    if (status >= 400) {
        return rig_call_refuse(run->call, error, "the server answered %d", status);
    }
    return rig_call_refuse(run->call, error, run->call->begun ? "the download broke off" : "no app came");
}

static esp_err_t run_all(run_t *run)
{
    esp_err_t error = rig_connection_watch(run->request->timeout_s);
    if (error == ESP_OK) {
        error = begin(run);
    }
    if (error != ESP_OK) {
        return explain(run, error);
    }
    error = download(run);
#if CONFIG_ESP_HTTPS_OTA_DECRYPT_CB
    error = rig_decrypt_verdict(run->call, error);
#endif
    error = explain(run, error);
    if (error != ESP_OK) {
        esp_https_ota_abort(run->handle);
        return error;
    }
    rig_download_forget();
    return finish(run);
}

esp_err_t rig_https_ota(rig_call_t *call, const rig_update_request_t *request, const esp_partition_t *slot)
{
    run_t run = {.call = call, .request = request, .slot = slot};
    esp_err_t error = check_possible(&run);
    if (error != ESP_OK) {
        return error;
    }
    if (request->resume) {
        run.kept = rig_download_kept(request->url, slot);
    } else {
        rig_download_forget();
    }
#if CONFIG_ESP_HTTPS_OTA_DECRYPT_CB
    error = rig_decrypt_begin(call, request->check_header ? rig_header_refuses : NULL);
    if (error == ESP_OK) {
        error = run_all(&run);
        rig_decrypt_drop();
    }
    return error;
#else
    return run_all(&run);
#endif
}
