// Feed a valid/ready stream from a binary file: one payload is BYTES bytes, least significant
// byte first. Before each payload the source idles while a pseudo-random byte is below `stall`.
// The cycle in which each payload is accepted is written to FILE.log, one decimal a line.
module hwroute_stream_source #(
    parameter WIDTH = 8,
    parameter NAME = "i"
) (
    input wire clk,
    input wire rst,
    input wire [63:0] cycle,
    input wire [7:0] stall,
    input wire [31:0] seed,
    output reg valid,
    input wire ready,
    output reg [WIDTH-1:0] payload
);
    localparam BYTES = (WIDTH + 7) / 8;
    reg [8*BYTES-1:0] buffer;
    reg pending;
    reg [31:0] random;
    integer data, log, got;
    string folder;

    // $fread fills the most significant byte first; files hold the least significant first.
    function automatic [8*BYTES-1:0] swapped(input [8*BYTES-1:0] value);
        for (int index = 0; index < BYTES; index++)
            swapped[8*index+:8] = value[8*(BYTES-1-index)+:8];
    endfunction

    initial begin
        if (!$value$plusargs("folder=%s", folder)) $fatal(1, "missing +folder");
        data = $fopen({folder, "/", NAME, ".bin"}, "rb");
        log = $fopen({folder, "/", NAME, ".log"}, "w");
        if (data == 0) $fatal(1, "cannot open the data of stream %s", NAME);
        got = $fread(buffer, data);
        pending = got == BYTES;
        valid = 1'b0;
        random = 32'h1;
    end

    wire taken = valid && ready;
    wire idle = random[7:0] < stall;

    always @(posedge clk) begin
        random <= rst ? (seed | 32'h1) : {random[30:0], random[31] ^ random[21] ^ random[1] ^ random[0]};
        if (rst) begin
            valid <= 1'b0;
        end else begin
            if (taken) begin
                $fwrite(log, "%0d\n", cycle);
                valid <= 1'b0;
            end
            if ((!valid || taken) && pending && !idle) begin
                valid <= 1'b1;
                payload <= WIDTH'(swapped(buffer));
                got = $fread(buffer, data);
                pending = got == BYTES;
            end
        end
    end
endmodule
