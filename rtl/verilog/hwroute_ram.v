// One write port with an enable for each of ENABLES equal parts of a row, one read port with a
// registered output that holds while read_en is low. A row that is read and written in the same
// cycle gives its old content. Rows are not initialised.
module hwroute_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 16,
    parameter ADDRESS = 4,
    parameter ENABLES = 1
) (
    input wire clk,
    input wire [ENABLES-1:0] write_en,
    input wire [ADDRESS-1:0] write_addr,
    input wire [WIDTH-1:0] write_data,
    input wire read_en,
    input wire [ADDRESS-1:0] read_addr,
    output reg [WIDTH-1:0] read_data
);
    localparam PART = WIDTH / ENABLES;
    reg [WIDTH-1:0] rows [0:DEPTH-1];
    integer part;

    always @(posedge clk) begin
        for (part = 0; part < ENABLES; part = part + 1)
            if (write_en[part])
                rows[write_addr][part*PART +: PART] <= write_data[part*PART +: PART];
        if (read_en) read_data <= rows[read_addr];
    end
endmodule
