// Drain a valid/ready stream into a text file, one "cycle payload" a line, payload in hexadecimal.
// While a pseudo-random byte is below `stall` the sink is not ready. Stops the simulation when a
// producer breaks the protocol: valid withdrawn, or payload changed, before the transfer.
module hwroute_stream_sink #(
    parameter WIDTH = 8,
    parameter NAME = "o"
) (
    input wire clk,
    input wire rst,
    input wire [63:0] cycle,
    input wire [7:0] stall,
    input wire [31:0] seed,
    input wire valid,
    output wire ready,
    input wire [WIDTH-1:0] payload,
    output wire done
);
    reg [31:0] random;
    reg [31:0] count, expected;
    reg waiting;
    reg [WIDTH-1:0] held;
    integer file;
    string folder;

    initial begin
        if (!$value$plusargs("folder=%s", folder)) $fatal(1, "missing +folder");
        if (!$value$plusargs({NAME, "=%d"}, expected)) $fatal(1, "missing +%s=<payloads>", NAME);
        file = $fopen({folder, "/", NAME, ".txt"}, "w");
        random = 32'h1;
        waiting = 1'b0;
        count = 0;
    end

    assign ready = !rst && !(random[7:0] < stall);
    assign done = count >= expected;

    always @(posedge clk) begin
        random <= rst ? (seed | 32'h1) : {random[30:0], random[31] ^ random[21] ^ random[1] ^ random[0]};
        if (rst) begin
            waiting <= 1'b0;
        end else begin
            if (waiting && !valid) $fatal(1, "stream %s: valid withdrawn before ready", NAME);
            if (waiting && payload != held) $fatal(1, "stream %s: payload changed before ready", NAME);
            waiting <= valid && !ready;
            held <= payload;
            if (valid && ready) begin
                $fwrite(file, "%0d %h\n", cycle, payload);
                count <= count + 1;
                if (count + 1 == expected) $fflush(file);
            end
        end
    end
endmodule
