// A memory behind an AXI port; for simulation only. It starts with the bytes of FOLDER/NAME.bin (zero
// behind its end), and leaves what it holds in FOLDER/NAME.hex, a beat a line, if anything was
// written. FOLDER is +folder.
//
// `latency` (at least 1) is what passes from an address, or a burst's last data, to its answer. While
// a pseudo-random byte is below `stall`, a channel is not ready, or offers nothing new. Reads of bytes
// from `bad_from` up to `bad_to` are answered with the response `bad_read`, and writes of them with
// `bad_write`; all that is behind the memory with DECERR. A burst that fails writes nothing. Answers
// are in order. `owed` counts the bursts that are not over. What breaks a rule of AXI, or leads
// out of an aligned window of BURST bytes, stops the simulation.
module hwroute_axi_memory #(
    parameter DATA_BITS = 256,
    parameter LENGTH_BITS = 4,
    parameter BEATS = 1024,
    parameter BURST = 512,
    parameter NAME = "memory"
) (
    input wire clk,
    input wire rst,
    input wire [15:0] latency,
    input wire [7:0] stall,
    input wire [31:0] seed,
    input wire [63:0] bad_from,
    input wire [63:0] bad_to,
    input wire [1:0] bad_read,
    input wire [1:0] bad_write,
    output reg [15:0] owed,
    input wire ar_valid,
    output wire ar_ready,
    input wire [63:0] ar_address,
    input wire [LENGTH_BITS-1:0] ar_length,
    output reg r_valid,
    input wire r_ready,
    output reg [DATA_BITS-1:0] r_data,
    output reg [1:0] r_response,
    output reg r_last,
    input wire aw_valid,
    output wire aw_ready,
    input wire [63:0] aw_address,
    input wire [LENGTH_BITS-1:0] aw_length,
    input wire w_valid,
    output wire w_ready,
    input wire [DATA_BITS-1:0] w_data,
    input wire [DATA_BITS/8-1:0] w_strobe,
    input wire w_last,
    output reg b_valid,
    input wire b_ready,
    output reg [1:0] b_response
);
    localparam BYTES = DATA_BITS / 8;
    localparam OKAY = 2'd0, DECERR = 2'd3;

    reg [DATA_BITS-1:0] rows [0:BEATS-1];
    reg [DATA_BITS-1:0] buffer;
    reg [31:0] random;
    reg [63:0] cycle;
    reg written;
    integer file, got;
    string folder;

    // Beats to give, bursts to write, their data, answers to give: each in order.
    reg [63:0] read_address[$], read_due[$], write_address[$], answer_due[$];
    reg read_last[$], data_last[$];
    reg [LENGTH_BITS-1:0] write_length[$];
    reg [DATA_BITS-1:0] data[$];
    reg [BYTES-1:0] strobe[$];
    reg [1:0] answer[$];

    // $fread fills the most significant byte first; files hold the least significant first.
    function automatic [DATA_BITS-1:0] swapped(input [DATA_BITS-1:0] value);
        for (int index = 0; index < BYTES; index++)
            swapped[8*index+:8] = value[8*(BYTES-1-index)+:8];
    endfunction

    function automatic [1:0] response(input [63:0] address, input [1:0] bad);
        if (address >= 64'(BEATS) * BYTES) return DECERR;
        return address >= bad_from && address < bad_to ? bad : OKAY;
    endfunction

    task automatic check(input [63:0] address, input [LENGTH_BITS-1:0] length);
        if (address % BYTES != 0) $fatal(1, "memory %s: address %h is not that of a beat", NAME, address);
        if (address / BURST != (address + 64'(length) * BYTES) / BURST)
            $fatal(1, "memory %s: the burst at %h leaves its window", NAME, address);
    endtask

    initial begin
        if (!$value$plusargs("folder=%s", folder)) $fatal(1, "missing +folder");
        for (int index = 0; index < BEATS; index++) rows[index] = 0;
        file = $fopen({folder, "/", NAME, ".bin"}, "rb");
        if (file == 0) $fatal(1, "cannot open the contents of memory %s", NAME);
        for (int index = 0; index < BEATS; index++) begin
            got = $fread(buffer, file);
            if (got != BYTES) break;
            rows[index] = swapped(buffer);
        end
        $fclose(file);
        written = 1'b0;
        random = 32'h1;
        cycle = 0;
        r_valid = 1'b0;
        b_valid = 1'b0;
    end

    final if (written) $writememh({folder, "/", NAME, ".hex"}, rows);

    // Each channel has a byte of the random number to itself; two for the answers share one.
    assign ar_ready = !rst && !(random[7:0] < stall);
    assign aw_ready = !rst && !(random[15:8] < stall);
    assign w_ready = !rst && !(random[23:16] < stall);
    wire idle = random[31:24] < stall;

    always @(posedge clk) begin
        random <= rst ? (seed | 32'h1) : {random[30:0], random[31] ^ random[21] ^ random[1] ^ random[0]};
        cycle <= cycle + 1;
        owed <= rst ? 0 : owed + 16'(ar_valid && ar_ready) + 16'(aw_valid && aw_ready)
            - 16'(r_valid && r_ready && r_last) - 16'(b_valid && b_ready);
        if (rst) begin
            read_address.delete(); read_due.delete(); read_last.delete();
            write_address.delete(); write_length.delete();
            data.delete(); strobe.delete(); data_last.delete();
            answer.delete(); answer_due.delete();
            r_valid <= 1'b0;
            b_valid <= 1'b0;
        end else begin
            serve_reads();
            serve_writes();
        end
    end

    task automatic serve_reads();
        reg [63:0] address;
        if (ar_valid && ar_ready) begin
            check(ar_address, ar_length);
            for (int beat = 0; beat <= 32'(ar_length); beat++) begin
                read_address.push_back(ar_address + 64'(beat) * BYTES);
                read_due.push_back(cycle + 64'(latency) - 1);
                read_last.push_back(beat == 32'(ar_length));
            end
        end
        if (r_valid && r_ready) r_valid <= 1'b0;
        if ((!r_valid || r_ready) && read_due.size() != 0 && !idle) begin
            if (read_due[0] <= cycle) begin
                address = read_address.pop_front();
                void'(read_due.pop_front());
                r_valid <= 1'b1;
                r_response <= response(address, bad_read);
                r_data <= response(address, bad_read) == OKAY ? rows[32'(address / BYTES)] : 0;
                r_last <= read_last.pop_front();
            end
        end
    endtask

    task automatic serve_writes();
        if (aw_valid && aw_ready) begin
            check(aw_address, aw_length);
            write_address.push_back(aw_address);
            write_length.push_back(aw_length);
        end
        if (w_valid && w_ready) begin
            data.push_back(w_data);
            strobe.push_back(w_strobe);
            data_last.push_back(w_last);
        end
        if (write_address.size() != 0) begin
            if (data.size() > 32'(write_length[0])) write_burst();
        end
        if (b_valid && b_ready) b_valid <= 1'b0;
        if ((!b_valid || b_ready) && answer_due.size() != 0 && !idle) begin
            if (answer_due[0] <= cycle) begin
                void'(answer_due.pop_front());
                b_valid <= 1'b1;
                b_response <= answer.pop_front();
            end
        end
    endtask

    task automatic write_burst();
        reg [63:0] address;
        reg [LENGTH_BITS-1:0] length;
        reg [1:0] worst;
        address = write_address.pop_front();
        length = write_length.pop_front();
        worst = OKAY;
        for (int beat = 0; beat <= 32'(length); beat++)
            if (response(address + 64'(beat) * BYTES, bad_write) > worst)
                worst = response(address + 64'(beat) * BYTES, bad_write);
        for (int beat = 0; beat <= 32'(length); beat++) begin
            if (data_last.pop_front() != (beat == 32'(length)))
                $fatal(1, "memory %s: the data at %h do not end where their address says", NAME, address);
            for (int octet = 0; octet < BYTES; octet++)
                if (worst == OKAY && strobe[0][octet])
                    rows[32'(address / BYTES) + beat][8*octet+:8] = data[0][8*octet+:8];
            void'(data.pop_front());
            void'(strobe.pop_front());
        end
        written = 1'b1;
        answer.push_back(worst);
        answer_due.push_back(cycle + 64'(latency) - 1);
    endtask
endmodule
