// One write port, one read port with a registered output that holds while read_en is low. A row that
// is read and written in the same cycle gives its old content. Rows are not initialised.
module hwroute_ram #(
    parameter WIDTH = 8,
    parameter DEPTH = 16,
    parameter ADDRESS = 4
) (
    input wire clk,
    input wire write_en,
    input wire [ADDRESS-1:0] write_addr,
    input wire [WIDTH-1:0] write_data,
    input wire read_en,
    input wire [ADDRESS-1:0] read_addr,
    output reg [WIDTH-1:0] read_data
);
    reg [WIDTH-1:0] rows [0:DEPTH-1];

    always @(posedge clk) begin
        if (write_en) rows[write_addr] <= write_data;
        if (read_en) read_data <= rows[read_addr];
    end
endmodule
